import { text } from "../src/text";
import { bubble, expect, row, signIn, test, write } from "./test";

const { form } = text.settings;

test("a newcomer connects a number and answers a customer, with both pages open", async ({
  page,
  otherPage: customers,
  organization,
  system,
}) => {
  await customers.goto(system.urls.customer);
  await signIn(page, { organization });
  await page.getByRole("link", { name: text.list.empty.connectAction }).click();
  await page.getByRole("button", { name: `${text.settings.connect} WhatsApp` }).click();
  await page.getByLabel(form.phoneNumberId).fill(organization.account);
  await page.getByLabel(form.apiKey).fill(organization.key("whatsapp"));
  await page.getByRole("button", { name: form.submit, exact: true }).click();

  const phone = customers.getByRole("region", { name: `WhatsApp ${organization.account}` });
  await phone.getByRole("textbox", { name: "Message" }).fill("Is the blue one in stock?");
  await phone.getByRole("button", { name: "Send" }).click();
  await page.getByRole("link", { name: text.nav.channel("whatsapp") }).click();
  await row(page, "Is the blue one in stock?").click();
  await write(page, "Yes, it is.");

  const answer = phone.getByRole("listitem").filter({ hasText: "Yes, it is." });
  await expect(answer).toContainText("read");
  await answer.getByRole("button", { name: "React with 👍" }).click();
  await expect(bubble(page, "Yes, it is.")).toContainText("👍");
  await answer.getByRole("button", { name: "Reply" }).click();
  await phone.getByRole("textbox", { name: "Message" }).fill("Great, I take it");
  await phone.getByRole("textbox", { name: "Message" }).press("Enter");
  await expect(bubble(page, "Great, I take it")).toContainText("Yes, it is.");

  await phone.getByRole("button", { name: "New customer" }).click();
  await phone.getByLabel("Type").selectOption("Location");
  await phone.getByRole("button", { name: "Send" }).click();
  // The pointer rests in the list since the first row was opened: nothing moves there by itself.
  await page.getByRole("button", { name: text.list.newer(1) }).click();
  await expect(row(page, "Max Beispiel")).toBeVisible();

  await customers.getByText("What goes wrong").click();
  await customers.getByLabel("Fault").selectOption("Message refused (131026)");
  await customers.getByLabel("Account").selectOption(organization.account);
  await customers.getByRole("button", { name: "Switch on" }).click();
  await expect(customers.getByRole("listitem").filter({ hasText: "1 left" })).toBeVisible();
  await write(page, "Will this arrive?");
  await expect(bubble(page, "Will this arrive?")).toContainText("Message undeliverable");
  await expect(customers.getByRole("listitem").filter({ hasText: "1 left" })).toHaveCount(0);
});

test("statuses are reported by hand", async ({ page, otherPage: customers, organization, system }) => {
  await organization.connect("facebook");
  await organization.customer("facebook", { text: "Hello" });
  await signIn(page, { organization });
  await row(page, "Hello").click();
  await customers.goto(system.urls.customer);
  await customers.getByLabel("Sent, delivered, read").selectOption("by hand");
  try {
    await write(page, "Good day");
    const answer = customers
      .getByRole("region", { name: `Messenger ${organization.account}` })
      .getByRole("listitem")
      .filter({ hasText: "Good day" });
    for (const status of ["delivered", "read"] as const) {
      await answer.getByRole("button", { name: `Mark ${status}` }).click();
      await expect(answer).toContainText(status);
      await expect(bubble(page, "Good day")).toContainText(text.thread.status[status]);
    }
  } finally {
    await system.simulate("settings", { statuses: "automatic" });
  }
});

test("what a customer or an operator writes is text on the phone as well", async ({ page, organization, system }) => {
  await organization.connect("instagram");
  const markup = `<img src=x onerror="document.title='broken'">`;
  await organization.customer("instagram", { name: markup, text: markup });
  await page.goto(system.urls.customer);

  const phone = page.getByRole("region", { name: `Instagram ${organization.account}` });
  await expect(phone.getByRole("listitem").filter({ hasText: markup })).toBeVisible();
  await expect(page.locator("img")).toHaveCount(0);
  await expect(page).toHaveTitle("Play the customer");
});
