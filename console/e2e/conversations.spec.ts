import { text } from "../src/text";
import { PLATFORMS } from "./organization";
import { bubble, expect, leaveList, row, signIn, test, toNewest, write } from "./test";

/** What the issue promises for what arrives while somebody looks. */
const SHOWN_WITHIN_MS = 3_000;

const HOUR_MS = 60 * 60 * 1000;
/** A picture with a 1 in it. */
const UNREAD_ICON = new RegExp(`^data:image/svg.*${encodeURIComponent(">1<")}`);

test.describe("a customer's message", () => {
  for (const platform of PLATFORMS) {
    test(`on ${text.platform[platform]} shows within three seconds, and the answer arrives`, async ({
      page,
      organization,
    }) => {
      await organization.connect(platform);
      await signIn(page, { organization });
      await expect(page.getByText(text.list.empty.title)).toBeVisible();

      await organization.customer(platform, { text: "Is the blue one in stock?" });
      await expect(row(page, "Is the blue one in stock?")).toBeVisible({ timeout: SHOWN_WITHIN_MS });
      await expect(page).toHaveTitle(/^\(1\) /);
      await expect(page.locator("link[rel=icon]")).toHaveAttribute("href", UNREAD_ICON);
      await row(page, "Is the blue one in stock?").click();
      await expect(bubble(page, "Is the blue one in stock?")).toBeVisible();
      await expect(page).not.toHaveTitle(/^\(1\) /);
      await expect(page.locator("link[rel=icon]")).not.toHaveAttribute("href", UNREAD_ICON);

      await write(page, "Yes, it is.");
      await expect(bubble(page, "Yes, it is.")).toContainText(text.thread.status.read);
      await expect(row(page, "Yes, it is.")).toBeVisible();
      expect((await organization.phone(platform)).map((message) => message.text)).toEqual([
        "Is the blue one in stock?",
        "Yes, it is.",
      ]);

      await organization.customer(platform, { text: "Then I take it" });
      await expect(bubble(page, "Then I take it")).toBeVisible({ timeout: SHOWN_WITHIN_MS });
    });
  }

  test("of every type has a card of its own, and changes show", async ({ page, organization, system }) => {
    await organization.connect(...PLATFORMS);
    const { accounts } = await system.simulate<{ accounts: { platform: "whatsapp"; id: string; types: string[] }[] }>(
      "accounts",
    );
    const ours = accounts.filter((account) => account.id === organization.account);
    expect(ours).toHaveLength(3);
    await signIn(page, { organization });
    for (const { platform, types } of ours) {
      const written = types.filter((type) => !["text", "reaction", "edit", "unsend"].includes(type));
      for (const type of written) await organization.customer(platform, { type });
      const last = await organization.customer(platform, { text: "The last words" });
      await page.getByRole("link", { name: text.nav.channel(platform), exact: true }).click();
      await row(page, "Lena Vogt").or(row(page, /\d{8}/)).first().click();
      const thread = page.getByRole("region", { name: text.thread.label });
      await toNewest(page);
      await expect(bubble(page, "The last words")).toBeVisible();

      await organization.customer(platform, { type: "reaction", target: last, emoji: "🎉" });
      await expect(bubble(page, "The last words")).toContainText("🎉");
      await organization.customer(platform, { type: "edit", target: last, text: "Better words" });
      await expect(bubble(page, "Better words")).toContainText(text.thread.edited);
      if (types.includes("unsend")) {
        await organization.customer(platform, { type: "unsend", target: last });
        await expect(bubble(page, text.thread.unsent)).toBeVisible();
      }

      const { items } = await organization.call<{ items: { contentType: string }[] }>(
        "GET",
        `/conversations/${new URL(page.url()).pathname.split("/").pop()}/messages?limit=100`,
      );
      expect(items).toHaveLength(written.length + 1);
      // Everything is drawn on the way up, and nothing as raw JSON or without words.
      const drawn = new Set<string>();
      for (let round = 0; round < 20; round++) {
        for (const words of await thread.getByRole("article").allInnerTexts()) {
          expect(words.trim()).not.toBe("");
          expect(words).not.toMatch(/undefined|\[object|^\{"/);
        }
        const ids = await thread
          .locator("[data-index]")
          .evaluateAll((rows: HTMLElement[]) => rows.map((row) => row.dataset["index"]!));
        ids.forEach((id) => drawn.add(id));
        await thread.evaluate((element) => (element.scrollTop -= element.clientHeight / 2));
        await page.waitForTimeout(50);
      }
      expect(drawn.size).toBe(items.length);
    }
  });

  test("is text, whatever it says", async ({ page, organization }) => {
    const hostile = {
      markup: `<img src=x onerror="document.title='broken'"><script>document.title='broken'</script>`,
      link: "javascript:document.title='broken'",
      reversed: "invoice\u202Efdp.exe",
      emoji: "😀".repeat(4096),
    };
    await organization.connect("whatsapp");
    await organization.customer("whatsapp", { name: hostile.markup, text: hostile.markup });
    await organization.customer("whatsapp", { name: hostile.markup, text: hostile.link });
    await organization.customer("whatsapp", { name: hostile.markup, text: hostile.reversed });
    await organization.customer("whatsapp", { name: hostile.markup, text: "https://example.com/a and more" });
    await organization.customer("whatsapp", { name: hostile.markup, text: hostile.emoji });
    await signIn(page, { organization });

    await row(page, "<img src=x").click();
    await expect(bubble(page, hostile.markup)).toBeVisible();
    const thread = page.getByRole("region", { name: text.thread.label });
    await expect(thread.getByRole("img")).toHaveCount(0);
    await expect(bubble(page, hostile.link).getByRole("link")).toHaveCount(0);
    await expect(bubble(page, "fdp.exe")).toContainText("invoice");
    await expect(bubble(page, "😀😀😀")).toBeVisible();
    const link = thread.getByRole("link", { name: "https://example.com/a" });
    await expect(link).toHaveAttribute("rel", /noopener/);
    await expect(link).toHaveAttribute("rel", /noreferrer/);
    await expect(page).not.toHaveTitle("broken");
    // Nothing is so wide that the page scrolls sideways.
    const overflow = () => document.documentElement.scrollWidth - document.documentElement.clientWidth;
    expect(await page.evaluate(overflow)).toBeLessThanOrEqual(0);
    await page.setViewportSize({ width: 375, height: 700 });
    expect(await page.evaluate(overflow)).toBeLessThanOrEqual(0);
  });
});

test.describe("an answer", () => {
  test.beforeEach(async ({ page, organization }) => {
    await organization.connect("whatsapp");
    await organization.customer("whatsapp", { text: "Hello?" });
    await signIn(page, { organization });
    await row(page, "Hello?").click();
    await expect(bubble(page, "Hello?")).toBeVisible();
  });

  test("rises from accepted to read as the provider tells it", async ({ page, organization, system }) => {
    const { status } = text.thread;
    await system.simulate("settings", { statuses: "manual" });
    try {
      await write(page, "One moment");
      const ours = bubble(page, "One moment");
      await expect(ours).toContainText(status.accepted);
      const sent = (await organization.phone("whatsapp")).at(-1)!;
      for (const next of ["sent", "delivered", "read"] as const) {
        await system.simulate("status", { accountId: organization.account, id: sent.id, status: next });
        await expect(ours).toContainText(status[next], { timeout: SHOWN_WITHIN_MS });
      }
      // What comes late does not lower it.
      await system.simulate("status", { accountId: organization.account, id: sent.id, status: "delivered" });
      await page.waitForTimeout(SHOWN_WITHIN_MS);
      await expect(ours).toContainText(status.read);
    } finally {
      await system.simulate("settings", { statuses: "automatic" });
    }
  });

  test("that is rejected stays, with the provider's reason", async ({ page, organization }) => {
    await organization.fault("reject:131026", "messages");
    await write(page, "Can you read this?");

    const ours = bubble(page, "Can you read this?");
    await expect(ours).toContainText(text.thread.status.failed);
    await expect(ours).toContainText(`${text.thread.notSent} It cannot be delivered`);
    await expect(ours).toContainText("Message undeliverable (131026)");
    // It would fail again.
    await expect(ours.getByRole("button", { name: text.thread.sendAgain })).toHaveCount(0);
    await expect(ours).toHaveCount(1);
    await expect(ours.getByRole("button", { name: text.thread.reply, exact: true })).toHaveCount(0);
    await expect(page.getByRole("textbox", { name: text.composer.label })).toBeEnabled();
  });

  test("whose connection breaks is not known, until a status settles it", async ({ page, organization, system }) => {
    await system.simulate("settings", { delayMs: 4_000 });
    try {
      await organization.fault("drop_after_accept", "messages");
      await write(page, "Did this arrive?");
      const ours = bubble(page, "Did this arrive?");
      await expect(ours).toContainText(text.thread.status.unknown);
      await expect(ours).toContainText(text.thread.unknownHint);
      await expect(ours).toContainText(text.thread.status.read, { timeout: 30_000 });
      await expect(ours).not.toContainText(text.thread.unknownHint);
      expect((await organization.phone("whatsapp")).filter(({ text }) => text === "Did this arrive?")).toHaveLength(1);
    } finally {
      await system.simulate("settings", { delayMs: 250 });
    }
  });

  test("that the provider never answers is not known, and is not sent again", async ({ page, organization }) => {
    await organization.fault("timeout", "messages");
    await write(page, "Hello from the timeout");

    const ours = bubble(page, "Hello from the timeout");
    await expect(ours).toContainText(text.thread.status.sending);
    await expect(ours).toContainText(text.thread.status.unknown, { timeout: 25_000 });
    await expect(ours).toHaveCount(1);
    expect((await organization.phone("whatsapp")).filter(({ by }) => by === "business")).toHaveLength(0);
  });

  test("quotes the message that it answers", async ({ page, organization }) => {
    await bubble(page, "Hello?").hover();
    await bubble(page, "Hello?").getByRole("button", { name: text.thread.reply }).click();
    await expect(page.getByText(text.composer.replyingTo)).toBeVisible();
    await write(page, "Hello to you");

    await expect(bubble(page, "Hello to you")).toContainText("Hello?");
    await expect.poll(async () => (await organization.phone("whatsapp")).at(-1)?.replyTo).toMatch(/^wamid\./);
  });

  test("as a note never reaches the customer", async ({ page, organization }) => {
    await page.getByRole("button", { name: text.composer.note, exact: true }).click();
    await page.getByRole("textbox", { name: text.composer.noteLabel }).fill("Regular customer");
    await page.keyboard.press("Enter");

    await expect(bubble(page, "Regular customer")).toContainText(text.thread.noteHint);
    expect((await organization.phone("whatsapp")).filter(({ by }) => by === "business")).toHaveLength(0);
  });

  test("is counted near the limit, and not sent above it", async ({ page }) => {
    const composer = page.getByRole("textbox", { name: text.composer.label });
    await composer.fill("x".repeat(4090));
    await expect(page.getByText(text.composer.left(6, "characters"))).toBeVisible();
    await composer.fill("x".repeat(4097));
    await expect(page.getByText(text.composer.left(-1, "characters"))).toBeVisible();
    await expect(page.getByRole("button", { name: text.composer.send })).toBeDisabled();
  });

  test("that is half written survives another conversation; Shift+Enter breaks the line", async ({
    page,
    organization,
  }) => {
    await organization.customer("whatsapp", { from: "491700000002", name: "Max Beispiel", text: "Me too" });
    const composer = page.getByRole("textbox", { name: text.composer.label });
    await composer.fill("First line");
    await composer.press("Shift+Enter");
    await composer.pressSequentially("second line");
    await leaveList(page);
    await row(page, "Max Beispiel").click();
    await expect(bubble(page, "Me too")).toBeVisible();
    await expect(composer).toHaveValue("");

    await row(page, "Lena Vogt").click();

    await expect(composer).toHaveValue("First line\nsecond line");
  });
});

test("a closed window is explained, and opens when the customer writes", async ({ page, organization }) => {
  await organization.connect("instagram");
  await organization.customer("instagram", { text: "Long ago", timestamp: Date.now() - 30 * HOUR_MS });
  await signIn(page, { organization });
  await row(page, "Long ago").click();

  await page.getByText(text.composer.windowClosed.title).click();
  await expect(page.getByText(text.composer.windowClosed.wait)).toBeVisible();
  // What is written is kept, and goes nowhere.
  await write(page, "Welcome back");
  await expect(page.getByRole("button", { name: text.composer.send })).toBeDisabled();
  await expect(page.getByRole("button", { name: text.composer.keepAsNote })).toBeVisible();

  await organization.customer("instagram", { text: "Back again" });
  await expect(page.getByRole("button", { name: text.composer.send })).toBeEnabled();
  await page.getByRole("textbox", { name: text.composer.label }).press("Enter");
  await expect(bubble(page, "Welcome back")).toContainText(text.thread.status.read);
});

test("a note that was begun while the window was closed stays one when it opens", async ({ page, organization }) => {
  await organization.connect("instagram");
  await organization.customer("instagram", { text: "Long ago", timestamp: Date.now() - 30 * HOUR_MS });
  await signIn(page, { organization });
  await row(page, "Long ago").click();
  await page.getByRole("button", { name: text.composer.note, exact: true }).click();
  const note = page.getByRole("textbox", { name: text.composer.noteLabel });
  await note.fill("Never answers");

  await organization.customer("instagram", { text: "Back again" });
  await expect(page.getByText(text.composer.windowClosed.title)).toBeHidden();
  await expect(bubble(page, "Back again")).toBeVisible();
  await note.press("Enter");

  await expect(bubble(page, "Never answers")).toContainText(text.thread.note);
  expect((await organization.phone("instagram")).some((message) => message.text === "Never answers")).toBe(false);
});

test("filters, deep links, reload and back lead where they say", async ({ page, organization }) => {
  await organization.connect(...PLATFORMS);
  for (const platform of PLATFORMS) {
    await organization.customer(platform, { text: `Hello from ${platform}` });
  }
  for (const channel of ["website", "phone"]) {
    const customer = { id: `visitor-${channel}`, name: "Visitor" };
    const message = { id: `m-${channel}`, sender: "customer", text: `Hello from ${channel}` };
    await organization.call("POST", `/channels/${channel}/messages`, { customer, message }, "service");
  }
  await signIn(page, { organization });
  const rows = page.getByRole("region", { name: text.list.label }).getByRole("listitem");
  const channels = page.getByRole("navigation", { name: text.nav.label });
  await expect(rows).toHaveCount(5);

  for (const channel of ["website", "whatsapp", "instagram", "facebook", "phone"] as const) {
    await channels.getByRole("link", { name: text.nav.channel(channel), exact: true }).click();
    await expect(rows).toHaveCount(1);
    await expect(rows).toContainText(`Hello from ${channel}`);
    await expect(page).toHaveURL(new RegExp(`channel=${channel}$`));
  }
  await page.goBack();
  await expect(rows).toContainText("Hello from facebook");
  await page.goBack();
  await rows.getByRole("link").click();
  await expect(bubble(page, "Hello from instagram")).toBeVisible();
  const deep = page.url();

  await page.reload();
  await expect(bubble(page, "Hello from instagram")).toBeVisible();
  await expect(rows).toHaveCount(1);
  await page.goto("/conversations");
  await expect(rows).toHaveCount(5);
  await page.goto(deep);
  await expect(bubble(page, "Hello from instagram")).toBeVisible();

  await page.getByRole("button", { name: text.details.closeConversation }).click();
  await channels.getByRole("link", { name: text.nav.channel(null), exact: true }).click();
  await channels.getByRole("link", { name: text.nav.view.closed }).click();
  await expect(rows).toHaveCount(1);
  await channels.getByRole("link", { name: text.nav.view.open }).click();
  await expect(rows).toHaveCount(4);
  await rows.filter({ hasText: "whatsapp" }).getByRole("link").click();
  await page.getByRole("button", { name: text.details.assignToMe }).click();
  await channels.getByRole("link", { name: text.nav.view.mine }).click();
  await expect(rows).toHaveCount(1);
  await expect(rows).toContainText("Hello from whatsapp");
  await channels.getByRole("link", { name: text.nav.view.unread }).click();
  await expect(rows).toHaveCount(3);

  await page.goto("/conversations/ffffffffffffffffffffffffffffffff");
  await expect(page.getByText(text.thread.missing)).toBeVisible();
});

test("Esc leaves a conversation, but not while an input method composes", async ({ page, organization }) => {
  await organization.connect("whatsapp");
  await organization.customer("whatsapp", { text: "Konnichiwa" });
  await signIn(page, { organization });
  await row(page, "Konnichiwa").click();
  const composer = page.getByRole("textbox", { name: text.composer.label });
  await expect(composer).toBeVisible();
  const { pathname } = new URL(page.url());

  await composer.dispatchEvent("keydown", { key: "Escape", isComposing: true, bubbles: true });
  await page.waitForTimeout(200);
  expect(new URL(page.url()).pathname).toBe(pathname);
  await composer.press("Escape");
  await expect(page).toHaveURL(/\/conversations$/);
});

test.describe("on a phone", () => {
  test.use({ viewport: { width: 375, height: 667 }, hasTouch: true, isMobile: true });

  test("Enter breaks the line, and the notice leaves the thread its room", async ({ page, organization }) => {
    await organization.connect("whatsapp", "instagram");
    await organization.customer("whatsapp", { text: "Two lines, please" });
    await organization.customer("instagram", { text: "Long ago", timestamp: Date.now() - 30 * HOUR_MS });
    await signIn(page, { organization });
    await row(page, "Two lines, please").tap();
    const composer = page.getByRole("textbox", { name: text.composer.label });
    await composer.tap();
    await page.keyboard.type("First line");
    await page.keyboard.press("Enter");
    await page.keyboard.type("second line");
    await expect(composer).toHaveValue("First line\nsecond line");
    await page.getByRole("button", { name: text.composer.send }).tap();
    await expect(bubble(page, "second line")).toContainText(text.thread.status.read);

    await page.getByRole("button", { name: text.thread.back }).tap();
    await row(page, "Long ago").tap();
    await expect(page.getByText(text.composer.windowClosed.title)).toBeVisible();
    const thread = page.getByRole("region", { name: text.thread.label });
    expect((await thread.boundingBox())!.height).toBeGreaterThan(667 / 2);
    // Zoomed to 400 %: what has no room can be scrolled to.
    await page.setViewportSize({ width: 320, height: 256 });
    expect((await thread.boundingBox())!.height).toBeGreaterThan(80);
    const note = page.getByRole("button", { name: text.composer.note, exact: true });
    await note.scrollIntoViewIfNeeded();
    await expect(note).toBeInViewport();
  });
});

test("the keyboard is enough", async ({ page, organization }) => {
  await organization.connect("whatsapp");
  for (const [index, name] of ["Ada", "Grace", "Joan"].entries()) {
    // WhatsApp's times are in seconds.
    const timestamp = Date.now() - 10_000 + index * 1_000;
    await organization.customer("whatsapp", { from: `49170000000${index}`, name, text: `I am ${name}`, timestamp });
  }
  await signIn(page, { organization });
  await expect(row(page, "Joan")).toBeVisible();

  await row(page, "Joan").focus();
  await page.keyboard.press("ArrowDown");
  await expect(row(page, "Grace")).toBeFocused();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await expect(bubble(page, "I am Ada")).toBeVisible();
  await expect(page.getByRole("textbox", { name: text.composer.label })).toBeFocused();
  await page.keyboard.type("Hello Ada");
  await page.keyboard.press("Enter");
  await expect(bubble(page, "Hello Ada")).toContainText(text.thread.status.read);

  await page.getByRole("textbox", { name: text.details.newLabel }).focus();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("complementary", { name: text.details.label })).toBeHidden();
  await expect(page.getByRole("button", { name: text.thread.details, exact: true })).toBeFocused();
  await page.keyboard.press("Escape");
  await expect(page).toHaveURL(/\/conversations$/);
  await expect(row(page, "Ada")).toBeFocused();
});

test("what is changed offline waits visibly, and is done when the network is back", async ({
  page,
  organization,
  context,
}) => {
  await organization.connect("whatsapp");
  await organization.customer("whatsapp", { text: "Hello?" });
  await organization.customer("whatsapp", { from: "491700000002", name: "Max Beispiel", text: "Me too" });
  await signIn(page, { organization });
  await row(page, "Hello?").click();
  await expect(bubble(page, "Hello?")).toBeVisible();
  const { pathname } = new URL(page.url());
  const details = page.getByRole("complementary", { name: text.details.label });

  await context.setOffline(true);
  await details.getByRole("button", { name: text.details.closeConversation }).click();
  await details.getByRole("button", { name: text.details.assignToMe }).click();
  await details.getByRole("textbox", { name: text.details.newLabel }).fill("returns");
  await page.keyboard.press("Enter");
  await expect(details.getByRole("button", { name: text.details.reopenConversation })).toBeVisible();
  await expect(details.getByRole("status")).toHaveText(text.changes.waiting(["close", "assign to you", "add returns"]));
  await row(page, "Max Beispiel").click();
  await expect(page.getByRole("heading", { name: text.thread.offline })).toBeVisible();

  await context.setOffline(false);
  await expect(bubble(page, "Me too")).toBeVisible();
  await expect
    .poll(() => organization.call("GET", pathname))
    .toMatchObject({ status: "closed", assignedTo: "ann", labels: ["returns"] });
  await page.goto(pathname);
  await expect(details.getByRole("button", { name: text.details.reopenConversation })).toBeVisible();
  await expect(details.getByText("Waiting for the connection")).toHaveCount(0);
});
