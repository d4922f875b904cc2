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

  // By way of the issuer, which ends its own session.
  const returned = page.waitForEvent("load");
  await page.getByRole("button", { name: text.account.signOut }).click();
  await returned;
  await expect(page.getByRole("button", { name: text.signIn.button })).toBeVisible();
  await page.goto("/conversations");
  await expect(page.getByRole("button", { name: text.signIn.button })).toBeVisible();
});

test("after signing out, the refresh token is refused", async ({ page, organization }) => {
  const issued = page.waitForResponse(/\/local\/oauth\/token$/);
  await signIn(page, { organization });
  const { refresh_token } = (await (await issued).json()) as { refresh_token: string };
  expect(refresh_token).toBeTruthy();

  await page.getByRole("button", { name: text.account.signOut }).click();
  await expect(page.getByRole("button", { name: text.signIn.button })).toBeVisible();

  const form = { grant_type: "refresh_token", client_id: "local", refresh_token };
  const answer = await page.request.post("/local/oauth/token", { form });
  expect(await answer.json()).toMatchObject({ error: "invalid_grant" });
});

test("a link leads to its page after signing in", async ({ page, organization }) => {
  await organization.connect("whatsapp");
  await organization.customer("whatsapp", { text: "Is the blue one in stock?" });
  const { items } = await organization.call<{ items: { id: string }[] }>("GET", "/conversations");

  await signIn(page, { organization }, `/conversations/${items[0]!.id}?channel=whatsapp`);

  await expect(bubble(page, "Is the blue one in stock?")).toBeVisible();
  await expect(page).toHaveURL(`/conversations/${items[0]!.id}?channel=whatsapp`);
});

test("a second tab is signed in and has the drafts, until one of them signs out", async ({
  page,
  organization,
  context,
  watch,
}) => {
  await organization.connect("whatsapp");
  await organization.customer("whatsapp", { text: "Is the blue one in stock?" });
  await signIn(page, { organization });
  await row(page, "Is the blue one").click();
  await page.getByRole("textbox", { name: text.composer.label }).fill("I was about to say");

  const opened = context.waitForEvent("page");
  await row(page, "Is the blue one").click({ modifiers: ["ControlOrMeta"] });
  const second = watch(await opened);
  const draft = second.getByRole("textbox", { name: text.composer.label });
  await expect(bubble(second, "Is the blue one")).toBeVisible();
  await expect(draft).toHaveValue("I was about to say");
  await draft.fill("I was about to say more");
  await expect(page.getByRole("textbox", { name: text.composer.label })).toHaveValue("I was about to say more");

  await second.getByRole("button", { name: text.account.signOut }).click();
  await expect(page.getByRole("button", { name: text.signIn.button })).toBeVisible();
  expect(await page.evaluate(() => [localStorage.length, sessionStorage.length])).toEqual([0, 0]);
});

test("a session does not outlive the browser", async ({ page, organization, context }) => {
  await signIn(page, { organization });

  await context.clearCookies({ name: "console-is-open" });
  await page.reload();

  await expect(page.getByRole("button", { name: text.signIn.button })).toBeVisible();
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

  test("renew by themselves, and lead back to where the person was when they end", async ({ page, context, watch }) => {
    let system = await System.start("--token-lifetime", "5");
    try {
      const organization = new Organization(system);
      await organization.connect("whatsapp");
      await organization.customer("whatsapp", { text: "Good morning" });
      await signIn(page, { organization }, system.urls.console);
      await row(page, "Lena Vogt").click();
      await expect(bubble(page, "Good morning")).toBeVisible();

      // Two tabs renew the one session, and neither ends it.
      const second = watch(await context.newPage());
      await second.goto(page.url());
      await page.waitForTimeout(12_000);
      await organization.customer("whatsapp", { text: "Still there?" });
      for (const tab of [page, second]) await expect(bubble(tab, "Still there?")).toBeVisible();
      await second.close();

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
