import { AxeBuilder } from "@axe-core/playwright";
import type { Page } from "@playwright/test";
import { text } from "../src/text";
import { PLATFORMS } from "./organization";
import { bubble, expect, row, signIn, test, toNewest, write } from "./test";

async function check(page: Page, what: string): Promise<void> {
  // Colours are judged when nothing fades any more.
  await page.evaluate(() =>
    Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => {}))),
  );
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.map(
    ({ id, impact, nodes }) => `${impact}: ${id}: ${nodes.map(({ html }) => html).join("\n")}`,
  );
  expect.soft(found, what).toEqual([]);
}

for (const colorScheme of ["light", "dark"] as const) {
  for (const [size, viewport] of Object.entries({
    desktop: { width: 1440, height: 900 },
    phone: { width: 375, height: 700 },
  })) {
    test.describe(`${colorScheme}, ${size}`, () => {
      test.use({ colorScheme, viewport });

      test("axe finds nothing on any page", async ({ page, organization, system }) => {
        test.setTimeout(120_000);
        await page.goto("/");
        await expect(page.getByRole("button", { name: text.signIn.button })).toBeVisible();
        await check(page, "signing in");
        await page.getByRole("button", { name: text.signIn.button }).click();
        await expect(page.getByLabel("Organization")).toBeVisible();
        await check(page, "the identity provider");
        await page.goto("/");
        await signIn(page, { organization }, "/settings/socials");
        await expect(page.getByText(text.settings.state.none)).toHaveCount(3);
        await check(page, "nothing connected");

        await page.getByRole("button", { name: `${text.settings.connect} WhatsApp` }).click();
        const dialog = page.getByRole("dialog");
        await dialog.getByRole("button", { name: text.settings.form.submit, exact: true }).click();
        await check(page, "the form, with what is wrong");
        await page.keyboard.press("Escape");
        await expect(dialog).toHaveCount(0);

        await organization.connect(...PLATFORMS);
        await page.reload();
        // What has received nothing yet is connected, too.
        await expect(page.getByText(new RegExp(`^ ?${text.settings.state.connected}`))).toHaveCount(3);
        await check(page, "three connected");
        await page.getByRole("button", { name: `${text.settings.delete} Facebook` }).click();
        await check(page, "a question before deleting");
        await page.getByRole("button", { name: text.cancel }).click();

        await system.simulate("settings", { health: "BLOCKED" });
        await page.getByRole("button", { name: `${text.settings.test} WhatsApp` }).click();
        await expect(page.getByText(text.settings.state.blocked, { exact: true }).first()).toBeVisible();
        await check(page, "one that cannot send");

        await page.goto("/conversations");
        await expect(page.getByText(text.list.empty.title)).toBeVisible();
        await expect(page.getByText(text.list.trouble.blocked("WhatsApp"))).toBeVisible();
        await check(page, "no conversation");
        await system.simulate("settings", { health: "AVAILABLE" });

        const { accounts } = await system.simulate<{
          accounts: { platform: "whatsapp"; id: string; types: string[] }[];
        }>("accounts");
        for (const { platform, types } of accounts.filter(({ id }) => id === organization.account)) {
          for (const type of types.filter((type) => !["reaction", "edit", "unsend"].includes(type))) {
            await organization.customer(platform, { type, ...(type === "text" && { text: "The last words" }) });
          }
          const last = await organization.customer(platform, { text: "The last words" });
          await organization.customer(platform, { type: "reaction", target: last, emoji: "👍" });
        }
        await expect(row(page, "The last words").first()).toBeVisible();
        await check(page, "the list");
        for (const platform of PLATFORMS) {
          await page.goto(`/conversations?channel=${platform}`);
          await row(page, "The last words").click();
          await toNewest(page);
          await expect(bubble(page, "The last words").first()).toBeVisible();
          await check(page, `every type of ${platform}`);
        }
        await organization.fault("reject:131026", "messages");
        await write(page, "Refused");
        await expect(bubble(page, "Refused")).toContainText(text.thread.status.failed);
        await write(page, "Answered");
        await expect(bubble(page, "Answered")).toContainText(text.thread.status.read);
        await page.getByRole("button", { name: text.composer.note, exact: true }).click();
        await page.getByRole("textbox", { name: text.composer.noteLabel }).fill("A note");
        await check(page, "what was answered and refused, and a note");
        await page.goto("/conversations?problem=true");
        await expect(row(page, text.list.problem.failed)).toBeVisible();
        await check(page, "the problems");
        await page.goBack();
        // What was jumped over is unread still: there it opens.
        await toNewest(page);
        await expect(bubble(page, "Answered")).toBeVisible();
        if (size === "phone") {
          await page.getByRole("button", { name: text.thread.details }).click();
          await expect(page.getByRole("complementary", { name: text.details.label })).toBeVisible();
          await check(page, "the customer");
          await page.goto("/conversations");
          await page.getByRole("button", { name: text.nav.menu, exact: true }).click();
          await expect(page.getByRole("region", { name: text.account.label })).toBeVisible();
          await check(page, "the menu");
        }

        await page.goto("/nowhere");
        await expect(page.getByText(text.errors.pageMissing)).toBeVisible();
        await check(page, "no such page");

        await page.goto(system.urls.customer);
        await expect(page.getByRole("region", { name: `WhatsApp ${organization.account}` })).toBeVisible();
        await page.getByText("What goes wrong").click();
        await check(page, "Play the customer");
      });
    });
  }
}
