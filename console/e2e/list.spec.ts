import type { Page } from "@playwright/test";
import { text } from "../src/text";
import type { Organization } from "./organization";
import { bubble, expect, row, signIn, test, write } from "./test";

const CUSTOMERS = 8;
/** So many messages are written, five in a second. */
const MESSAGES = 40;
const EVERY_MS = 200;

/** Each customer once, the last of them at the top. */
async function inbox(organization: Organization): Promise<void> {
  await organization.connect("whatsapp");
  for (let index = 0; index < CUSTOMERS; index++) {
    await say(organization, index, `Question ${index}`, Date.now() - (CUSTOMERS + 2 - index) * 1_000);
  }
}

async function say(organization: Organization, index: number, words: string, timestamp = Date.now()): Promise<void> {
  await organization.customer("whatsapp", {
    from: `49170000000${index}`,
    name: `Customer ${index}`,
    text: words,
    timestamp,
  });
}

const rows = (page: Page) => page.getByRole("region", { name: text.list.label }).getByRole("link");
const newer = (page: Page) => page.getByRole("button", { name: /^\d+ new$/ });

test("nothing moves under a resting pointer, nor under the focus", async ({ page, organization }) => {
  await inbox(organization);
  await signIn(page, { organization });
  await expect(rows(page)).toHaveCount(CUSTOMERS);

  const box = (await row(page, "Customer 5").boundingBox())!;
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  // Looks in every frame at what is under the pointer.
  const moves = page.evaluate(
    ({ x, y, ms }) =>
      new Promise<number>((resolve) => {
        const under = () => document.elementFromPoint(x, y)?.closest<HTMLElement>("[data-id]")?.dataset["id"];
        let [count, last] = [0, under()];
        const end = performance.now() + ms;
        const frame = () => {
          const now = under();
          if (now !== last) count++;
          last = now;
          if (performance.now() < end) requestAnimationFrame(frame);
          else resolve(count);
        };
        frame();
      }),
    { x, y, ms: MESSAGES * EVERY_MS + 4_000 },
  );
  for (let index = 0; index < MESSAGES; index++) {
    const next = new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    // Also some who are new.
    await say(organization, index % (CUSTOMERS + 2), `Hurry ${index}`);
    await next;
  }
  expect(await moves).toBe(0);
  // Who is new waits, or stands below once all others have written since.
  for (const [index, shown] of (await rows(page).allTextContents()).entries()) {
    expect(/Customer [89]/.test(shown)).toBe(index >= CUSTOMERS);
  }
  await expect(row(page, "Customer 5")).toContainText(/Hurry/);

  await expect(newer(page)).toBeVisible();
  await newer(page).click();
  await expect(rows(page)).toHaveCount(CUSTOMERS + 2);
  await expect(newer(page)).toBeHidden();
  // Rows of one second, the provider's resolution, stand in any order.
  await expect(rows(page).first()).toContainText(/Hurry 3[5-9]/);
  await expect(row(page, `Hurry ${MESSAGES - 1}`)).toBeVisible();
  await expect(rows(page).first()).toBeFocused();

  // The pointer has gone, the focus is still there; once it has gone too, the list is up to date.
  await page.mouse.move(900, 600);
  await say(organization, 3, "Me again");
  await expect(newer(page)).toHaveText("1 new");
  await expect(rows(page).first()).toContainText(/Hurry 3[5-9]/);
  await page.locator("body").click({ position: { x: 900, y: 600 } });
  await expect(rows(page).first()).toContainText("Me again");
  await expect(newer(page)).toBeHidden();
});

test("an answered row stays in Unread, ticked, until the list is left", async ({ page, organization }) => {
  await inbox(organization);
  await signIn(page, { organization }, "/conversations?unread=true");
  await expect(rows(page)).toHaveCount(CUSTOMERS);
  const top = `Customer ${CUSTOMERS - 1}`;

  await row(page, top).click();
  await expect(bubble(page, `Question ${CUSTOMERS - 1}`)).toBeVisible();
  await expect(row(page, top)).toContainText(text.list.done.unread);
  await write(page, "Here you are");
  await expect(row(page, top)).toContainText("Here you are", { timeout: 500 });
  await expect(row(page, top)).toContainText(text.list.done.answered);
  // The pointer still rests on it, also when the next one is opened from there.
  await row(page, "Customer 6").click();
  await expect(bubble(page, "Question 6")).toBeVisible();
  await page.waitForTimeout(3_000);
  await expect(rows(page).first()).toContainText("Here you are");
  await expect(rows(page)).toHaveCount(CUSTOMERS);

  await page.mouse.move(900, 600);
  await page.getByRole("textbox", { name: text.composer.label }).focus();
  await expect(rows(page)).toHaveCount(CUSTOMERS - 1);
  await expect(rows(page).first()).toContainText("Customer 6");
});

test("a channel that cannot send is told to operators below the list", async ({ page, organization, system }) => {
  await inbox(organization);
  await signIn(page, { organization, role: "operator" });
  await expect(rows(page)).toHaveCount(CUSTOMERS);
  await expect(page.getByText(text.list.trouble.blocked("WhatsApp"))).toBeHidden();

  await system.simulate("settings", { health: "BLOCKED" });
  try {
    await organization.call("POST", "/social-integrations/whatsapp/test");
    await page.reload();
    const trouble = page.getByRole("status").filter({ hasText: text.list.trouble.blocked("WhatsApp") });
    await expect(trouble).toContainText(text.list.troubleForOperators);
    await page.getByRole("link", { name: text.nav.socials }).click();
    const card = page.getByRole("region", { name: "WhatsApp", exact: true });
    await expect(card.locator("header")).toHaveText(`WhatsApp ${text.settings.state.blocked}`);
  } finally {
    await system.simulate("settings", { health: "AVAILABLE" });
  }
});
