import { text } from "../src/text";
import { Organization } from "./organization";
import { System } from "./system";
import { authorize, bubble, expect, row, signIn, test, write } from "./test";

test("a person signs in, sees who they are, and signs out", async ({ page, organization }) => {
  await page.goto("/");
  await expect(page).toHaveTitle(text.signIn.title);
  await page.getByRole("button", { name: text.signIn.button }).click();
  await authorize(page, { organization, user: "oskar", role: "operator" });

  const account = page.getByRole("region", { name: text.account.label });
  await expect(account).toContainText("oskar");
  await expect(account).toContainText(`${organization.id} · Operator`);
  await expect(page).toHaveURL(/\/conversations$/);

  await page.getByRole("button", { name: text.account.signOut }).click();
  await expect(page.getByRole("button", { name: text.signIn.button })).toBeVisible();
  await page.goto("/conversations");
  await expect(page.getByRole("button", { name: text.signIn.button })).toBeVisible();
});

test("a link leads to its page after signing in", async ({ page, organization }) => {
  await organization.connect("whatsapp");
  await organization.customer("whatsapp", { text: "Is the blue one in stock?" });
  const { items } = await organization.call<{ items: { id: string }[] }>("GET", "/conversations");

  await signIn(page, { organization }, `/conversations/${items[0]!.id}?channel=whatsapp`);

  await expect(bubble(page, "Is the blue one in stock?")).toBeVisible();
  await expect(page).toHaveURL(`/conversations/${items[0]!.id}?channel=whatsapp`);
});

test("somebody whose role may not read is told so", async ({ page, organization }) => {
  await page.goto("/");
  await page.getByRole("button", { name: text.signIn.button }).click();
  await page.getByLabel("Organization").fill(organization.id);
  await page.getByLabel("Role").selectOption("service");
  await page.getByRole("button", { name: "Sign in" }).click();

  await expect(page.getByRole("alert")).toHaveText(text.signIn.noRole);
});

test.describe("sessions", () => {
  test.setTimeout(120_000);

  test("renew by themselves, and lead back to where the person was when they end", async ({ page }) => {
    let system = await System.start("--token-lifetime", "5");
    try {
      const organization = new Organization(system);
      await organization.connect("whatsapp");
      await organization.customer("whatsapp", { text: "Good morning" });
      await signIn(page, { organization }, system.urls.console);
      await row(page, "Lena Vogt").click();
      await expect(bubble(page, "Good morning")).toBeVisible();

      await page.waitForTimeout(7_000);
      await organization.customer("whatsapp", { text: "Still there?" });
      await expect(bubble(page, "Still there?")).toBeVisible();

      const { pathname } = new URL(page.url());
      await page.getByRole("textbox", { name: text.composer.label }).fill("I was about to say");
      // The issuer forgets its sessions with its process, so this one can no longer renew.
      system = await system.restart();
      await expect(page.getByRole("alert")).toHaveText(text.signIn.expired, { timeout: 30_000 });
      await page.getByRole("button", { name: text.signIn.button }).click();
      await authorize(page, { organization });

      await expect(page).toHaveURL(new RegExp(`${pathname}$`));
      const composer = page.getByRole("textbox", { name: text.composer.label });
      await expect(composer).toHaveValue("I was about to say");
      await write(page, "Yes, good morning");
      await expect(bubble(page, "Yes, good morning")).toContainText(text.thread.status.read);
    } finally {
      await system.stop();
    }
  });
});
