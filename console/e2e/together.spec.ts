import { text } from "../src/text";
import { Organization } from "./organization";
import { bubble, expect, leaveList, row, signIn, test, write } from "./test";

test("two operators see what the other does", async ({ page, otherPage, organization }) => {
  await organization.connect("whatsapp");
  await organization.customer("whatsapp", { text: "Is anybody there?" });
  await signIn(page, { organization, user: "ann" });
  await signIn(otherPage, { organization, user: "oskar", role: "operator" });
  for (const each of [page, otherPage]) {
    await row(each, "Is anybody there?").click();
    await expect(bubble(each, "Is anybody there?")).toBeVisible();
  }

  await write(page, "Ann is here");
  await expect(bubble(otherPage, "Ann is here")).toContainText("ann");
  await write(otherPage, "And so is Oskar");
  await expect(bubble(page, "And so is Oskar")).toContainText("oskar");
  await otherPage.getByRole("button", { name: text.details.assignToMe }).click();
  await expect(page.getByRole("complementary", { name: text.details.label })).toContainText("oskar");
  await page.getByRole("button", { name: text.details.closeConversation }).click();
  await expect(otherPage.getByRole("button", { name: text.details.reopenConversation })).toBeVisible();

  const answers = (await organization.phone("whatsapp")).filter(({ by }) => by === "business");
  expect(answers.map((answer) => answer.text)).toEqual(["Ann is here", "And so is Oskar"]);
});

test("two organizations never see each other", async ({ page, otherPage, organization, system }) => {
  const stranger = new Organization(system);
  await organization.connect("whatsapp");
  await stranger.connect("whatsapp");
  await organization.customer("whatsapp", { text: "For the first" });
  await stranger.customer("whatsapp", { text: "For the second" });
  await signIn(page, { organization });
  await signIn(otherPage, { organization: stranger });

  await expect(row(page, "For the first")).toBeVisible();
  await expect(row(otherPage, "For the second")).toBeVisible();
  await row(page, "For the first").click();
  await expect(bubble(page, "For the first")).toBeVisible();
  await otherPage.goto(page.url());

  await expect(otherPage.getByText(text.thread.missing)).toBeVisible();
  await expect(otherPage.getByText("For the first")).toHaveCount(0);
  await expect(page.getByText("For the second")).toHaveCount(0);
  await otherPage.goto("/settings/socials");
  await expect(otherPage.getByText(organization.account)).toHaveCount(0);
});

test("after being offline nothing is missing, in or out", async ({ page, context, organization }) => {
  await organization.connect("whatsapp");
  await organization.customer("whatsapp", { text: "Before" });
  await signIn(page, { organization });
  await row(page, "Before").click();
  await expect(bubble(page, "Before")).toBeVisible();
  await leaveList(page);

  await context.setOffline(true);
  await expect(page.getByText(text.errors.offline)).toBeVisible();
  await write(page, "Written while offline");
  await organization.customer("whatsapp", { text: "Said meanwhile" });
  await organization.customer("whatsapp", { from: "491700000002", name: "Max Beispiel", text: "I am new" });
  await expect(bubble(page, "Written while offline")).toBeVisible();
  await expect(bubble(page, "Said meanwhile")).toHaveCount(0);

  await context.setOffline(false);
  await expect(bubble(page, "Said meanwhile")).toBeVisible();
  await expect(row(page, "I am new")).toBeVisible();
  await expect(bubble(page, "Written while offline")).toContainText(text.thread.status.read, { timeout: 30_000 });
  await expect(page.getByText(text.errors.offline)).toHaveCount(0);
  const answers = (await organization.phone("whatsapp")).filter(({ by }) => by === "business");
  expect(answers.map((answer) => answer.text)).toEqual(["Written while offline"]);
});

test("a message whose answer is lost arrives once, even across a reload", async ({ page, organization }) => {
  await organization.connect("whatsapp");
  await organization.customer("whatsapp", { text: "Hello?" });
  await signIn(page, { organization });
  await row(page, "Hello?").click();
  await expect(bubble(page, "Hello?")).toBeVisible();
  const keys: (string | undefined)[] = [];
  // The request reaches the server; its answer never reaches the page.
  await page.route("**/api/v1/conversations/*/messages", async (route) => {
    if (route.request().method() !== "POST") return route.continue();
    keys.push(route.request().headers()["idempotency-key"]);
    await route.fetch();
    // A page that is gone hears nothing anyway.
    await route.abort("connectionreset").catch(() => undefined);
  });

  await write(page, "Just once, please");
  await expect.poll(() => keys.length).toBeGreaterThan(0);
  await page.reload();
  await expect.poll(() => keys.length).toBeGreaterThan(1);
  await page.unrouteAll({ behavior: "wait" });

  await expect(bubble(page, "Just once, please")).toContainText(text.thread.status.read, { timeout: 30_000 });
  await expect(bubble(page, "Just once, please")).toHaveCount(1);
  expect(new Set(keys).size).toBe(1);
  const answers = (await organization.phone("whatsapp")).filter(({ by }) => by === "business");
  expect(answers.map((answer) => answer.text)).toEqual(["Just once, please"]);
});
