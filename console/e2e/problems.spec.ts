import { text } from "../src/text";
import type { Organization } from "./organization";
import type { System } from "./system";
import { bubble, expect, row, signIn, test, write } from "./test";

/** What the provider says of a message that it took and cannot deliver. */
const UNDELIVERABLE = [{ code: 131026, title: "Message undeliverable" }];
/** One poll of the list, and some time to draw it. */
const TOLD_WITHIN_MS = 3_000;

/** The provider tells that the newest message to a customer failed. */
async function fail(system: System, organization: Organization, customer: string): Promise<void> {
  const sent = (await organization.phone("whatsapp", customer)).findLast(({ by }) => by === "business")!;
  const status = { accountId: organization.account, id: sent.id, status: "failed", errors: UNDELIVERABLE };
  await system.simulate("status", status);
}

test.describe("a message that fails", () => {
  const ada = { from: "491700000001", name: "Ada" };
  const grace = { from: "491700000002", name: "Grace" };

  test.beforeEach(async ({ page, organization, system }) => {
    await system.simulate("settings", { statuses: "manual" });
    await organization.connect("whatsapp");
    await organization.customer("whatsapp", { ...ada, text: "I am Ada", timestamp: Date.now() - 9_000 });
    await organization.customer("whatsapp", { ...grace, text: "I am Grace" });
    await signIn(page, { organization });
  });

  test.afterEach(async ({ system }) => {
    await system.simulate("settings", { statuses: "automatic" });
  });

  test("is counted and listed among the problems until it is dismissed", async ({ page, organization, system }) => {
    const problems = page.getByRole("navigation").getByRole("link", { name: text.nav.view.problems });
    for (const [name, words] of [
      ["Ada", "First answer"],
      ["Grace", "Second answer"],
    ] as const) {
      await row(page, name).click();
      await write(page, words);
      await expect(bubble(page, words)).toContainText(text.thread.status.accepted);
    }
    await problems.click();
    await expect(page.getByText(text.list.empty.view.problems.title)).toBeVisible();

    await fail(system, organization, grace.from);
    await fail(system, organization, ada.from);
    await expect(problems).toHaveText(`${text.nav.view.problems}2`, { timeout: TOLD_WITHIN_MS });
    const rows = page.getByRole("region", { name: text.list.label }).getByRole("listitem");
    await expect(rows).toHaveCount(2);
    // The newest message that failed, not the newest failure.
    await expect(rows.first()).toContainText("Grace");
    await page.reload();
    await expect(rows).toHaveCount(2);

    await row(page, "Grace").focus();
    await page.keyboard.press("Tab");
    await expect(page.getByRole("button", { name: text.list.dismissNamed("Grace") })).toBeFocused();
    await page.keyboard.press("Enter");
    await expect(row(page, "Ada")).toBeFocused();
    await expect(problems).toHaveText(`${text.nav.view.problems}1`);
    await page.getByRole("button", { name: text.list.dismissNamed("Ada") }).click();
    await expect(problems).toHaveText(text.nav.view.problems);
  });
});
