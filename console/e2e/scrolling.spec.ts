import type { Locator, Page } from "@playwright/test";
import { text } from "../src/text";
import type { Organization } from "./organization";
import { bubble, expect, row, signIn, test } from "./test";

const CONVERSATIONS = 2_000;
const MESSAGES = 5_000;
/** In one delivery; the provider sends up to 1,000, and waits five seconds for the answer. */
const BATCH = 100;
const FRAME_LIMIT_MS = 100;
const RUNS = 3;

test.describe.configure({ timeout: 300_000 });

/** Delivers texts of `WhatsApp` customers, many at once, as the provider does after an outage. */
async function deliver(
  organization: Organization,
  count: number,
  one: (index: number) => { from: string; text: string },
) {
  const start = Math.floor(Date.now() / 1000) - count;
  for (let first = 0; first < count; first += BATCH) {
    const indexes = Array.from({ length: Math.min(BATCH, count - first) }, (_, index) => first + index);
    const messages = indexes.map((index) => {
      const { from, text } = one(index);
      const id = `wamid.${organization.account}.${index}`;
      return { from, id, timestamp: String(start + index), type: "text", text: { body: text } };
    });
    const contacts = [...new Set(messages.map(({ from }) => from))].map((from) => ({
      wa_id: from,
      profile: { name: `Customer ${Number(from.slice(-4))}` },
    }));
    const metadata = { display_phone_number: "15550001001", phone_number_id: organization.account };
    const value = { messaging_product: "whatsapp", metadata, contacts, messages };
    const entry = [{ id: "waba", changes: [{ field: "messages", value }] }];
    await organization.customer("whatsapp", { payload: { object: "whatsapp_business_account", entry } });
  }
}

/** Scrolls by `step` pixels in each of so many frames; the longest of them, in milliseconds. */
async function scroll(scroller: Locator, step: number, frames: number): Promise<number> {
  return scroller.evaluate(
    (element, { step, frames }) =>
      new Promise<number>((resolve) => {
        let longest = 0;
        let last = performance.now();
        let left = frames;
        const frame = (now: number) => {
          // The first frame waits for whatever came before.
          if (left < frames) longest = Math.max(longest, now - last);
          last = now;
          element.scrollTop += step;
          if (--left > 0) requestAnimationFrame(frame);
          else resolve(longest);
        };
        requestAnimationFrame(frame);
      }),
    { step, frames },
  );
}

/** The element that scrolls: the nearest one above that is higher inside than outside. */
async function scrollerOf(page: Page, inner: Locator): Promise<Locator> {
  await inner.evaluate((start) => {
    let element: Element | null = start;
    while (
      element &&
      !(element.scrollHeight > element.clientHeight && getComputedStyle(element).overflowY === "auto")
    ) {
      element = element.parentElement;
    }
    element?.setAttribute("data-scroller", "");
  });
  return page.locator("[data-scroller]");
}

interface TraceEvent {
  name: string;
  pid: number;
  tid: number;
  ts: number;
  dur?: number;
  /** Processor time, in microseconds. */
  tdur?: number;
  args: { name?: string };
}

/** The most processor time that the page's main thread took from one frame to the next, in milliseconds. */
function busiestFrame(trace: Buffer): number {
  const { traceEvents } = JSON.parse(trace.toString()) as { traceEvents: TraceEvent[] };
  const frames = traceEvents
    .filter(({ name }) => name === "FireAnimationFrame")
    .sort((one, other) => one.ts - other.ts);
  const [first] = frames;
  if (!first) throw new Error("the trace has no frames");
  const tasks = traceEvents
    .filter(({ name, pid, tid }) => name === "ThreadControllerImpl::RunTask" && pid === first.pid && tid === first.tid)
    .sort((one, other) => one.ts - other.ts);
  let end = 0;
  const times = frames.map(() => 0);
  let frame = 0;
  // Where the processor time is missing, the task took no more than it lasted.
  for (const { ts, dur = 0, tdur = dur } of tasks) {
    // A task within a task is part of it.
    if (ts < end) continue;
    end = ts + dur;
    while (frame + 1 < frames.length && frames[frame + 1]!.ts <= ts) frame++;
    times[frame]! += tdur / 1000;
  }
  return Math.max(...times);
}

/** Whether the same piece of work takes about as long each time: if not, other programs have the machine. */
async function isQuiet(page: Page): Promise<boolean> {
  const other = await page.context().newPage();
  const times = await other.evaluate(async () => {
    const times: number[] = [];
    for (let round = 0; round < 60; round++) {
      await new Promise(requestAnimationFrame);
      const start = performance.now();
      let sum = 0;
      for (let index = 0; index < 5_000_000; index++) sum = (sum + index * index) % 1_000_003;
      if (sum >= 0) times.push(performance.now() - start);
    }
    // The first ones are compiled first.
    return times.slice(10);
  });
  await other.close();
  return Math.max(...times) < 3 * Math.min(...times);
}

/**
 * No frame may be longer than the limit: by the clock where the machine is quiet, and always by the processor time of the main
 * thread, which does not depend on who else uses the machine.
 */
async function expectSmooth(page: Page, once: () => Promise<number>): Promise<void> {
  const browser = page.context().browser()!;
  let wasQuiet = await isQuiet(page);
  const frames: number[] = [];
  const work: number[] = [];
  for (let run = 0; run < RUNS; run++) {
    await page.bringToFront();
    await browser.startTracing(page, { categories: ["toplevel", "devtools.timeline"] });
    frames.push(await once());
    work.push(busiestFrame(await browser.stopTracing()));
    wasQuiet = (await isQuiet(page)) && wasQuiet;
  }
  const list = (numbers: number[]) => numbers.map((number) => number.toFixed(0)).join(", ");
  console.log(`longest frames: ${list(frames)} ms by the clock, ${list(work)} ms of processor time`);
  expect(Math.min(...work), "processor time of the busiest frame, in ms").toBeLessThan(FRAME_LIMIT_MS);
  if (wasQuiet) {
    expect(Math.min(...frames), "the longest frame, in ms").toBeLessThan(FRAME_LIMIT_MS);
  } else {
    console.log("This machine is busy with something else: frames were not judged by the clock.");
  }
}

test("2,000 conversations scroll smoothly; none is doubled or skipped while messages arrive", async ({
  page,
  organization,
}) => {
  await organization.connect("whatsapp");
  const number = (index: number) => `4917${String(index).padStart(8, "0")}`;
  await deliver(organization, CONVERSATIONS, (index) => ({ from: number(index), text: `Question ${index}` }));
  await signIn(page, { organization });
  await expect(row(page, `Question ${CONVERSATIONS - 1}`)).toBeVisible();
  const scroller = await scrollerOf(page, page.getByRole("region", { name: text.list.label }).getByRole("list"));

  // What is passed is noted, while another customer writes now and then.
  const passed = new Map<string, string>();
  const note = async () => {
    const rows = await scroller.getByRole("link").evaluateAll((links) => {
      return links.map((link) => [link.getAttribute("href"), link.textContent] as const);
    });
    rows.forEach(([href, words]) => passed.set(href!, words!));
    return rows.length;
  };
  let stuck = 0;
  for (let round = 0; passed.size < CONVERSATIONS && stuck < 20; round++) {
    const before = passed.size;
    await note();
    stuck = passed.size === before ? stuck + 1 : 0;
    await scroller.evaluate((element) => (element.scrollTop += element.clientHeight * 0.8));
    if (round % 40 === 0) {
      const from = number(CONVERSATIONS - 1 - round);
      await organization.customer("whatsapp", { from, name: "Impatient", text: `Hurry ${round}` });
    }
    await page.waitForTimeout(stuck ? 300 : 30);
  }
  const seen = [...passed.values()].map((words) => /Question (\d+)|Hurry (\d+)/.exec(words)?.[0]);
  expect(passed.size, "conversations passed while scrolling").toBe(CONVERSATIONS);
  expect(seen.filter((words) => words === undefined)).toEqual([]);

  await expectSmooth(page, async () => {
    await scroller.evaluate((element) => (element.scrollTop = 0));
    await page.waitForTimeout(500);
    return scroll(scroller, 300, 200);
  });
});

test("a thread of 5,000 messages scrolls smoothly to its beginning, without a jump", async ({ page, organization }) => {
  await organization.connect("whatsapp");
  const words = (index: number) => `Message ${index}. ${"What it says goes on and on. ".repeat(index % 7)}`;
  await deliver(organization, MESSAGES, (index) => ({ from: "491713920012", text: words(index) }));
  await signIn(page, { organization });
  await row(page, "Customer 12").click();
  await expect(bubble(page, `Message ${MESSAGES - 1}.`)).toBeVisible();
  const scroller = page.getByRole("region", { name: text.thread.label });

  await expectSmooth(page, () => scroll(scroller, -200, 150));

  // What is on screen stays where it is when older messages come above.
  const jump = await scroller.evaluate(async (element) => {
    const frame = () => new Promise(requestAnimationFrame);
    let worst = 0;
    for (let round = 0; round < 60; round++) {
      element.scrollTop -= 150;
      await frame();
      const box = element.getBoundingClientRect();
      const inView = [...element.querySelectorAll("article")].find((article) => {
        const { top, bottom } = article.getBoundingClientRect();
        return top > box.top + 40 && bottom < box.bottom;
      });
      const before = inView?.getBoundingClientRect().top;
      for (let wait = 0; wait < 5; wait++) await frame();
      if (inView?.isConnected && before !== undefined) {
        worst = Math.max(worst, Math.abs(inView.getBoundingClientRect().top - before));
      }
    }
    return worst;
  });
  expect(jump, "pixels that a message moved by itself").toBeLessThan(4);

  // To the very beginning, then nothing was left out. The last messages to come, too, leave what is on screen where it is: above it.
  await expect
    .poll(
      async () => {
        await scroller.evaluate((element) => (element.scrollTop = 0));
        const isThere = await page.getByText(text.thread.start).isVisible();
        return isThere && (await bubble(page, "Message 0.").isVisible());
      },
      { timeout: 120_000, intervals: [100] },
    )
    .toBe(true);
  const { bottom } = await scroller.evaluate((element) => ({ bottom: element.scrollHeight }));
  expect(bottom).toBeGreaterThan(MESSAGES * 40);
  // Nothing in between was seen.
  await page.getByRole("button", { name: /new messages$/ }).click();
  await expect(bubble(page, `Message ${MESSAGES - 1}.`)).toBeVisible();
});

test("a long backlog opens at its first unread message, and only what was on screen is read", async ({
  page,
  organization,
}) => {
  await organization.connect("whatsapp");
  await deliver(organization, 110, (index) => ({ from: "491713920012", text: `Message ${index}.` }));
  type Listed = { items: { id: string; text: string; unreadCount: number }[] };
  const { items: conversations } = await organization.call<Listed>("GET", "/conversations");
  const path = `/conversations/${conversations[0]!.id}`;
  const { items } = await organization.call<Listed>("GET", `${path}/messages?limit=100`);
  await organization.call("PATCH", path, { readUpTo: items.find(({ text }) => text === "Message 19.")!.id });
  const unread = async () => (await organization.call<Listed["items"][0]>("GET", path)).unreadCount;
  expect(await unread()).toBe(90);
  await signIn(page, { organization });

  await row(page, "Message 109.").click();
  await expect(page.getByText(text.thread.newMessages, { exact: true })).toBeInViewport();
  await expect(bubble(page, "Message 20.")).toBeInViewport();
  await expect.poll(unread).toBeLessThan(90);
  expect(await unread()).toBeGreaterThan(60);

  // What is jumped over stays unread, and is pointed to.
  await page.getByRole("button", { name: /new messages$/ }).click();
  await expect(bubble(page, "Message 109.")).toBeInViewport();
  const above = page.getByRole("button", { name: /more unread$/ });
  await expect(above).toBeVisible();
  await page.waitForTimeout(1_000);
  expect(await unread()).toBeGreaterThan(60);
  await above.click();
  await expect(bubble(page, "Message 109.")).not.toBeInViewport();

  const thread = page.getByRole("region", { name: text.thread.label });
  await expect
    .poll(async () => {
      await thread.evaluate((element) => (element.scrollTop += element.clientHeight / 2));
      return unread();
    })
    .toBe(0);
  await expect(above).toHaveCount(0);
});
