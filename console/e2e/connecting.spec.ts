import type { Locator, Page } from "@playwright/test";
import { text } from "../src/text";
import { Organization, PLATFORMS, type Platform } from "./organization";
import { expect, signIn, test } from "./test";

const { form } = text.settings;
const ACCOUNT = {
  whatsapp: form.phoneNumberId,
  instagram: form.instagramAccountId,
  facebook: form.facebookPageId,
} satisfies Record<Platform, string>;

const card = (page: Page, platform: Platform) =>
  page.getByRole("region", { name: text.platform[platform], exact: true });

async function openForm(page: Page, platform: Platform): Promise<Locator> {
  const name = text.platform[platform];
  await card(page, platform)
    .getByRole("button", { name: `${text.settings.connect} ${name}` })
    .click();
  return page.getByRole("dialog", { name: form.title(name) });
}

async function submit(dialog: Locator, platform: Platform, account: string, key: string): Promise<void> {
  await dialog.getByLabel(ACCOUNT[platform]).fill(account);
  await dialog.getByLabel(form.apiKey).fill(key);
  await dialog.getByRole("button", { name: form.submit, exact: true }).click();
}

test.describe("an admin", () => {
  for (const platform of PLATFORMS) {
    const name = text.platform[platform];

    test(`connects ${name}, tests, updates, disconnects and deletes it`, async ({ page, organization }) => {
      await signIn(page, { organization }, "/settings/socials");
      const ours = card(page, platform);
      await expect(ours).toContainText(text.settings.state.none);

      await submit(await openForm(page, platform), platform, organization.account, organization.key(platform));
      await expect(ours.getByRole("status")).toHaveText(text.settings.done.connected(name));
      const heading = ours.getByRole("heading", { name });
      await expect(heading).toBeFocused();
      await expect(ours).toContainText(text.settings.state.connected);
      await expect(ours).toContainText(organization.account);
      await expect(page.locator("body")).not.toContainText(organization.key(platform));

      await ours.getByRole("button", { name: `${text.settings.test} ${name}` }).click();
      // Of WhatsApp alone the provider says that it delivers to us; on the others, the first message does.
      const { tested, testedWaiting } = text.settings;
      await expect(ours.getByRole("status")).toHaveText((platform === "whatsapp" ? tested : testedWaiting)(name));

      await ours.getByRole("button", { name: `${text.settings.updateKey} ${name}` }).click();
      const update = page.getByRole("dialog", { name: form.updateTitle(name) });
      await expect(update.getByLabel(form.apiKey)).toHaveValue("");
      await expect(update.getByLabel(form.apiKey)).toBeFocused();
      await expect(update.getByLabel(ACCOUNT[platform])).toHaveValue(organization.account);
      await update.getByLabel(form.apiKey).fill(organization.key(platform));
      await update.getByRole("button", { name: form.updateSubmit }).click();
      await expect(ours.getByRole("status")).toHaveText(text.settings.done.connected(name));

      const disconnect = ours.getByRole("button", { name: `${text.settings.disconnect} ${name}` });
      await disconnect.click();
      await expect(page.getByRole("alertdialog").getByRole("button", { name: text.cancel })).toBeFocused();
      await page.keyboard.press("Escape");
      await expect(disconnect).toBeFocused();
      await disconnect.click();
      await page.getByRole("alertdialog").getByRole("button", { name: text.settings.disconnect }).click();
      await expect(ours).toContainText(text.settings.state.disconnected);
      await expect(ours).not.toContainText(text.settings.healthStatus.available);
      await expect(heading).toBeFocused();

      await ours.getByRole("button", { name: `${text.settings.reconnect} ${name}` }).click();
      await expect(ours.getByRole("status")).toHaveText(text.settings.done.connected(name));
      await expect(ours).toContainText(text.settings.state.connected);
      await expect(heading).toBeFocused();

      await ours.getByRole("button", { name: `${text.settings.delete} ${name}` }).click();
      await expect(page.getByRole("alertdialog")).toContainText("Not removed: the conversations");
      await page.getByRole("alertdialog").getByRole("button", { name: text.settings.delete }).click();
      await expect(ours).toContainText(text.settings.state.none);
      await expect(heading).toBeFocused();
    });

    test(`is told beside the field what is wrong with ${name}`, async ({ page, organization, system }) => {
      // Of a provider that names no account of a key, only the deployment's word is left: nothing would be wrong.
      await system.simulate("settings", { namesAccounts: true });
      const { account } = organization;
      const key = organization.key(platform);
      const stranger = new Organization(system);
      await stranger.connect(platform);
      await signIn(page, { organization }, "/settings/socials");
      const dialog = await openForm(page, platform);
      const send = dialog.getByRole("button", { name: form.submit, exact: true });
      const problem = (field: string) => dialog.getByLabel(field).locator("xpath=..").getByRole("alert");

      await send.click();
      await expect(problem(ACCOUNT[platform])).toHaveText(form.missing(ACCOUNT[platform]));
      await expect(problem(form.apiKey)).toHaveText(form.missing(form.apiKey));
      await expect(dialog.getByLabel(ACCOUNT[platform])).toBeFocused();

      await submit(dialog, platform, `${account}#1`, key);
      await expect(problem(ACCOUNT[platform])).toHaveText(form.badId);

      await submit(dialog, platform, account, "not-a-key-of-360dialog");
      await expect(problem(form.apiKey)).toContainText("key");
      await expect(dialog.getByLabel(form.apiKey)).toBeFocused();

      await submit(dialog, platform, account, `${key}9`);
      await expect(problem(ACCOUNT[platform])).not.toBeEmpty();

      await submit(dialog, platform, stranger.account, stranger.key(platform));
      await expect(problem(ACCOUNT[platform])).toContainText("another organization");

      await organization.fault("server_error", "health_status", 10);
      await submit(dialog, platform, account, key);
      await expect(dialog.getByRole("alert").filter({ hasText: "is too busy" })).toBeVisible();
      await organization.clearFaults();

      await submit(dialog, platform, account, key);
      await expect(card(page, platform)).toContainText(text.settings.state.connected);
      await system.simulate("settings", { namesAccounts: false });
    });
  }

  test("sees an account whose key was refused, and what the provider says about its health", async ({
    page,
    organization,
    system,
  }) => {
    await organization.connect("whatsapp");
    await signIn(page, { organization }, "/settings/socials");
    const ours = card(page, "whatsapp");

    await system.simulate("settings", { health: "LIMITED" });
    await ours.getByRole("button", { name: `${text.settings.test} WhatsApp` }).click();
    await expect(ours).toContainText(text.settings.healthStatus.limited);
    await expect(ours).toContainText(text.settings.state.limited);
    await expect(ours).toContainText(text.settings.testedLimited("WhatsApp"));
    await system.simulate("settings", { health: "BLOCKED" });
    await ours.getByRole("button", { name: `${text.settings.test} WhatsApp` }).click();
    await expect(ours.locator("header")).toHaveText(`WhatsApp ${text.settings.state.blocked}`);
    await system.simulate("settings", { health: "AVAILABLE" });

    await organization.fault("unauthorized", "health_status");
    await ours.getByRole("button", { name: `${text.settings.test} WhatsApp` }).click();
    await expect(ours).toContainText(text.settings.state.error);
    await expect(ours.getByRole("button", { name: `${text.settings.updateKey} WhatsApp` })).toBeVisible();
  });

  test("presses Test, and no button moves under the pointer", async ({ page, organization }) => {
    await organization.connect("whatsapp");
    await organization.fault("unauthorized", "health_status");
    await organization.call("POST", "/social-integrations/whatsapp/test");
    await signIn(page, { organization }, "/settings/socials");
    const ours = card(page, "whatsapp");
    await expect(ours).toContainText(text.settings.state.error);
    const places = () => ours.getByRole("button").evaluateAll((all) => all.map((one) => one.getBoundingClientRect().y));
    const before = await places();

    await ours.getByRole("button", { name: `${text.settings.test} WhatsApp` }).click();

    await expect(ours.getByRole("status")).toHaveText(text.settings.tested("WhatsApp"));
    await expect(ours).toContainText(text.settings.state.connected);
    expect(await places()).toEqual(before);
  });

  test("registers a webhook again that was moved, and needs no key", async ({ page, organization, system }) => {
    await organization.connect("whatsapp");
    await fetch(`${system.urls.provider}/v1/configs/webhook`, {
      method: "POST",
      headers: { "D360-API-KEY": organization.key("whatsapp"), "Content-Type": "application/json" },
      body: JSON.stringify({ url: "https://elsewhere.example.com/hook" }),
    });
    await signIn(page, { organization }, "/settings/socials");
    const ours = card(page, "whatsapp");
    await ours.getByRole("button", { name: `${text.settings.test} WhatsApp` }).click();
    await expect(ours).toContainText(text.settings.webhookElsewhere);

    await ours.getByRole("button", { name: text.settings.registerWebhook }).click();

    await expect(ours.getByRole("status")).toHaveText(text.settings.done.registered("WhatsApp"));
    await expect(ours).toContainText(text.settings.webhookYes);
    await expect(ours).not.toContainText(text.settings.webhookElsewhere);
    await expect(ours.getByRole("heading", { name: "WhatsApp" })).toBeFocused();
    await organization.customer("whatsapp", { text: "It arrives" });
  });

  test("copies the webhook's URL", async ({ page, organization, system, context }) => {
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    await signIn(page, { organization }, "/settings/socials");

    await expect(page.getByLabel(text.settings.webhookUrl)).toHaveValue(system.urls.webhook);
    await page.getByRole("button", { name: text.settings.copy }).click();

    await expect(page.getByRole("button", { name: text.settings.copied })).toBeVisible();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(system.urls.webhook);
  });
});

test("an operator sees the accounts read-only, and why", async ({ page, organization }) => {
  await organization.connect("whatsapp");
  await signIn(page, { organization, role: "operator" }, "/settings/socials");

  await expect(page.getByText(text.settings.readOnly)).toBeVisible();
  await expect(card(page, "whatsapp")).toContainText(text.settings.state.connected);
  for (const platform of PLATFORMS) {
    await expect(card(page, platform).getByRole("button")).toHaveCount(0);
  }
});
