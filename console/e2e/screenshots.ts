import { mkdir, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { Page } from "@playwright/test";
import { text } from "../src/text";
import { bubble, expect, row, signIn, test, write } from "./test";

// Makes the pictures of the documents, of the real thing: npm run screenshots
const FOLDER = fileURLToPath(new URL("../../docs", import.meta.url));
const LIMIT_BYTES = 300_000;

const MINUTE_MS = 60_000;

async function picture(page: Page, name: string): Promise<void> {
  const path = `${FOLDER}/${name}.png`;
  await page.mouse.move(0, 0);
  await page.screenshot({ path, animations: "disabled", caret: "initial" });
  expect((await stat(path)).size).toBeLessThanOrEqual(LIMIT_BYTES);
}

test("pictures", async ({ page, otherPage: customers, organization, system }) => {
  test.setTimeout(120_000);
  Object.assign(organization, { id: "acme", account: "1001" });
  await mkdir(FOLDER, { recursive: true });
  await page.setViewportSize({ width: 1440, height: 900 });
  await organization.connect("whatsapp", "instagram");
  const ago = (minutes: number) => Date.now() - minutes * MINUTE_MS;
  await organization.customer("instagram", {
    name: "Aylin",
    text: "Love the new colours! Price?",
    timestamp: ago(190),
  });
  await organization.customer("instagram", { from: "7120", type: "story_mention", timestamp: ago(150) });
  await organization.customer("whatsapp", {
    from: "4915112345678",
    name: "Max Beispiel",
    text: "When do you open on Saturday?",
    timestamp: ago(42),
  });
  await organization.customer("whatsapp", {
    from: "33612345678",
    name: "Chloé Martin",
    type: "voice",
    timestamp: ago(25),
  });
  await organization.call(
    "POST",
    "/channels/website/messages",
    {
      customer: { id: "visitor-1", name: "Visitor" },
      message: {
        id: "m-1",
        sender: "customer",
        text: "Do you ship to Norway?",
        timestamp: new Date(ago(12)).toISOString(),
      },
    },
    "service",
  );
  await organization.customer("whatsapp", { text: "Hello! Is the blue one in stock?", timestamp: ago(8) });
  await organization.customer("whatsapp", { type: "image", text: "This one, size M", timestamp: ago(8) });

  await signIn(page, { organization, user: "ann" });
  await row(page, "Lena Vogt").click();
  await expect(bubble(page, "This one, size M")).toBeVisible();
  await write(page, "It is. Shall I put one aside for you?");
  await expect(bubble(page, "Shall I put one aside")).toContainText(text.thread.status.read);
  await organization.customer("whatsapp", { text: "Yes please, I come by at five" });
  await page.getByRole("button", { name: text.composer.note, exact: true }).click();
  await page.getByRole("textbox", { name: text.composer.noteLabel }).fill("Put aside under V. Regular customer.");
  await page.keyboard.press("Enter");
  await expect(bubble(page, "Put aside under V.")).toBeVisible();
  await page.getByRole("button", { name: text.composer.note, exact: true }).click();
  await write(page, "Perfect, it is waiting for you.");
  await expect(bubble(page, "it is waiting for you")).toContainText(text.thread.status.read);
  await picture(page, "conversations");

  await page.goto("/settings/socials");
  await expect(page.getByText(text.settings.state.connected, { exact: true })).toHaveCount(2);
  await picture(page, "socials");

  await organization.connect("facebook");
  await organization.customer("facebook", { name: "Kwame Mensah", text: "Hi, are you open today?" });
  await customers.setViewportSize({ width: 1440, height: 900 });
  await customers.goto(system.urls.customer);
  const phone = customers.getByRole("region", { name: "WhatsApp 1001" });
  await phone.getByLabel("Customer").selectOption("491713920012");
  await expect(phone.getByText("it is waiting for you")).toBeVisible();
  await picture(customers, "customer");
});
