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
    await expect(row(page, "Grace")).toBeFocused();
    await expect(row(page, "Grace")).toContainText(text.list.done.problems);
    await expect(problems).toHaveText(`${text.nav.view.problems}1`);
    await page.getByRole("button", { name: text.list.dismissNamed("Ada") }).click();
    await expect(problems).toHaveText(text.nav.view.problems);
  });

  test("after it was sent is told as such, and can be taken out of the problems", async ({
    page,
    organization,
    system,
  }) => {
    await row(page, "Ada").click();
    await write(page, "Is it there?");
    const ours = bubble(page, "Is it there?");
    await expect(ours).toContainText(text.thread.status.accepted);

    await fail(system, organization, ada.from);
    await expect(ours).toContainText(text.thread.notDelivered, { timeout: TOLD_WITHIN_MS });
    await expect(ours).not.toContainText(text.thread.notSent);
    await expect(ours.getByRole("button", { name: text.thread.sendAgain })).toHaveCount(0);
    await ours.getByRole("button", { name: text.list.dismiss }).click();

    await expect(ours.getByRole("button", { name: text.list.dismiss })).toHaveCount(0);
    await expect(page.getByRole("region", { name: text.thread.label })).toBeFocused();
    await expect(ours).toContainText(text.thread.notDelivered);
  });

  test("is sent again once, by however many clicks, and says so", async ({ page, organization }) => {
    // So many that trying again by itself is in vain.
    await organization.fault("reject:131056", "messages", 5);
    await row(page, "Ada").click();
    await write(page, "Once more");
    const [old, again] = [bubble(page, "Once more").first(), bubble(page, "Once more").last()];
    await expect(old).toContainText(`${text.thread.notSent} Too many messages were sent at once.`);
    await organization.clearFaults();

    await old.getByRole("button", { name: text.thread.sendAgain }).dblclick();
    await expect(again).toContainText(text.thread.status.accepted);
    await expect(old.getByRole("button", { name: text.thread.sentAgain })).toBeVisible();
    await expect(old.getByRole("button", { name: text.thread.sendAgain })).toHaveCount(0);
    await page.reload();
    await expect(old.getByRole("button", { name: text.thread.sentAgain })).toBeVisible();

    await expect(bubble(page, "Once more")).toHaveCount(2);
    const answers = (await organization.phone("whatsapp", ada.from)).filter(({ by }) => by === "business");
    expect(answers.map((answer) => answer.text)).toEqual(["Once more"]);
  });

  test("for what it says is changed in the composer, and sent again from there", async ({ page, organization }) => {
    await organization.fault("reject:131051", "messages");
    await row(page, "Ada").click();
    await write(page, "Not like this");
    await bubble(page, "Not like this").getByRole("button", { name: text.thread.editAndSendAgain }).click();
    const composer = page.getByRole("textbox", { name: text.composer.label });
    await expect(composer).toBeFocused();
    await expect(composer).toHaveValue("Not like this");
    await expect(page.getByText(text.composer.sendingAgain)).toBeVisible();

    await write(page, "But like that");

    await expect(bubble(page, "But like that")).toContainText(text.thread.status.accepted);
    await expect(page.getByText(text.composer.sendingAgain)).toBeHidden();
    const old = bubble(page, "Not like this");
    await expect(old.getByRole("button", { name: text.thread.sentAgain })).toBeVisible();
  });

  test("after its operator has moved on is told on any page, once", async ({ page, organization, system }) => {
    const notice = page.getByRole("complementary", { name: text.nav.view.problems });
    const sentence = text.announce.problem.failed("Ada");
    await row(page, "Ada").click();
    await write(page, "One moment");
    await expect(bubble(page, "One moment")).toContainText(text.thread.status.accepted);
    await page.getByRole("link", { name: text.nav.socials }).click();
    await expect(page.getByRole("heading", { name: text.settings.title, exact: true })).toBeVisible();

    await fail(system, organization, ada.from);
    await expect(notice.getByRole("link", { name: sentence })).toBeVisible({ timeout: TOLD_WITHIN_MS });
    await expect(page.getByRole("status").filter({ hasText: sentence })).toBeAttached();
    await expect(page).toHaveTitle(`(1) ⚠ 1 · ${text.settings.title}`);

    await notice.getByRole("link", { name: sentence }).click();
    await expect(bubble(page, "One moment")).toContainText(text.thread.notDelivered);
    await expect(page.getByRole("textbox", { name: text.composer.label })).toBeFocused();
    await expect(notice).toBeHidden();
    // What is there when a page is opened is no news.
    await page.goto("/settings/socials");
    await expect(page).toHaveTitle(`(1) ⚠ 1 · ${text.settings.title}`);
    await page.waitForTimeout(TOLD_WITHIN_MS);
    await expect(notice).toBeHidden();
  });

  test("or not can be told after two minutes, and a late status still wins", async ({ page, organization, system }) => {
    test.setTimeout(240_000);
    await row(page, "Ada").click();
    const thread = page.getByRole("region", { name: text.thread.label });
    await organization.fault("drop_after_accept", "messages");
    await write(page, "Did this one arrive?");
    await expect(bubble(page, "Did this one arrive?")).toContainText(text.thread.unknownHint);
    await organization.fault("timeout", "messages");
    await write(page, "And this one?");
    await expect(thread.getByText(text.thread.unknownHint)).toHaveCount(2, { timeout: 30_000 });
    await expect(thread.getByRole("button", { name: text.thread.sendAgainTwice })).toHaveCount(0);

    await expect(thread.getByText(text.thread.unconfirmedHint)).toHaveCount(2, { timeout: 150_000 });
    await bubble(page, "Did this one arrive?").getByRole("button", { name: text.thread.itArrived }).click();
    await expect(bubble(page, "Did this one arrive?")).toContainText(text.thread.status.assumed);
    await expect(thread).toBeFocused();
    await bubble(page, "And this one?").getByRole("button", { name: text.thread.sendAgainTwice }).click();
    await expect(bubble(page, "And this one?").last()).toContainText(text.thread.status.accepted);
    await expect(bubble(page, "And this one?").first()).toContainText(text.thread.sentAgain);

    const phone = (await organization.phone("whatsapp", ada.from)).filter(({ by }) => by === "business");
    expect(phone.map((answer) => answer.text)).toEqual(["Did this one arrive?", "And this one?"]);
    await system.simulate("status", { accountId: organization.account, id: phone[0]!.id, status: "read" });
    await expect(bubble(page, "Did this one arrive?")).toContainText(text.thread.status.read);
  });
});
