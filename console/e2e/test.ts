import { expect, test as base, type Page } from "@playwright/test";
import { text } from "../src/text";
import { Organization, type Role } from "./organization";
import { System } from "./system";

interface Fixtures {
  organization: Organization;
  /** A page in a browser of its own, of somebody else. */
  otherPage: Page;
  /** Pages of the test's own contexts are watched like its first one. */
  watch: (page: Page) => Page;
}

/** What the browser says about answers of the API that are no success; the pages tell people in their own words. */
const EXPECTED = /^Failed to load resource/;

export const test = base.extend<Fixtures, { system: System }>({
  system: [
    // eslint-disable-next-line no-empty-pattern
    async ({}, use) => {
      const system = await System.start();
      await use(system);
      await system.stop();
    },
    { scope: "worker", timeout: 300_000 },
  ],
  baseURL: async ({ system }, use) => use(system.urls.console),
  organization: async ({ system }, use) => use(new Organization(system)),
  // Whatever a test is about: no error in a page, nothing that the Content-Security-Policy had to stop, no other host asked.
  watch: [
    // eslint-disable-next-line no-empty-pattern
    async ({}, use) => {
      const wrong: string[] = [];
      await use((page) => {
        page.on("pageerror", (error) => wrong.push(String(error)));
        page.on("console", (message) => {
          if (message.type() === "error" && !EXPECTED.test(message.text())) wrong.push(message.text());
        });
        page.on("request", (request) => {
          const { protocol, hostname } = new URL(request.url());
          if (protocol !== "data:" && hostname !== "127.0.0.1") wrong.push(`a request to ${request.url()}`);
        });
        return page;
      });
      expect(wrong).toEqual([]);
    },
    { auto: true },
  ],
  page: async ({ page, watch }, use) => use(watch(page)),
  otherPage: async ({ browser, baseURL, watch }, use) => {
    const context = await browser.newContext(baseURL ? { baseURL } : {});
    await use(watch(await context.newPage()));
    await context.close();
  },
});

export { expect };

interface Person {
  organization: Organization;
  user?: string;
  role?: Role;
}

/** Opens a page of the console, and signs in on the way, as a person does. */
export async function signIn(page: Page, person: Person, path = "/"): Promise<void> {
  await page.goto(path);
  await page.getByRole("button", { name: text.signIn.button }).click();
  await authorize(page, person);
}

/** What a person does at the identity provider. */
export async function authorize(page: Page, { organization, user = "ann", role = "admin" }: Person): Promise<void> {
  await page.getByLabel("Organization").fill(organization.id);
  await page.getByLabel("User").fill(user);
  await page.getByLabel("Role").selectOption(role);
  await page.getByRole("button", { name: "Sign in" }).click();
  // Every page of a signed-in person has it, at any width.
  await expect(page.getByRole("link", { name: text.skipToContent })).toBeAttached();
}

/** Where the newest message, or one with that text, stands. */
export function bubble(page: Page, words: string) {
  return page.getByRole("region", { name: text.thread.label }).getByRole("article").filter({ hasText: words });
}

/** The row of a conversation. */
export function row(page: Page, words: string | RegExp) {
  return page.getByRole("region", { name: text.list.label }).getByRole("link").filter({ hasText: words });
}

/** Leaves the list, so that its order is up to date: nothing moves under the pointer. */
export async function leaveList(page: Page): Promise<void> {
  await page.getByRole("region", { name: text.thread.label }).hover();
}

/** Writes into the composer and sends with Enter. */
export async function write(page: Page, words: string): Promise<void> {
  await page.getByRole("textbox", { name: text.composer.label }).fill(words);
  await page.keyboard.press("Enter");
}

/** Scrolls past what is unread, where it does not fit. */
export async function toNewest(page: Page): Promise<void> {
  const thread = page.getByRole("region", { name: text.thread.label });
  await expect(thread.getByRole("article").first()).toBeVisible();
  await thread.evaluate((element) => (element.scrollTop = element.scrollHeight));
}
