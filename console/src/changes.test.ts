// @vitest-environment jsdom
import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { createApi, type Conversation } from "./api";
import { Changes } from "./changes";
import type { Session } from "./session";
import { conversation } from "./testing/examples";
import { text } from "./text";

const ANN = { organization: "acme", user: "ann", role: "operator" } as const;
const OPEN = conversation({ labels: ["vip"] });
const { id } = OPEN;

/** What the API answers, one after the other; the last one again and again. */
let answers: (Response | "no answer")[];
let asked: unknown[];
let online: boolean;

const done = (data: Conversation) => Response.json({ success: true, data, timestamp: "" });
const refused = (status: number, code: string) =>
  Response.json(
    { success: false, message: "no", error: { code, message: "no", details: null }, timestamp: "" },
    { status },
  );

/** What is changed in this tab, from its start or a reload on. */
function changes(): Changes {
  const session = { token: () => Promise.resolve("token"), renew: () => Promise.resolve(null), expire: vi.fn() };
  const changes = new Changes(createApi(session as unknown as Session), new QueryClient(), ANN);
  changes.start();
  return changes;
}

beforeEach(() => {
  vi.useFakeTimers();
  window.sessionStorage.clear();
  [answers, asked, online] = [[done(OPEN)], [], true];
  vi.spyOn(navigator, "onLine", "get").mockImplementation(() => online);
  vi.stubGlobal("fetch", async (request: Request) => {
    asked.push(await request.json());
    const next = answers.length > 1 ? answers.shift() : answers[0];
    if (next instanceof Response) return next.clone();
    throw new TypeError("network");
  });
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** The network goes or comes back, and some time passes. */
async function network(isThere: boolean): Promise<void> {
  online = isThere;
  if (isThere) window.dispatchEvent(new Event("online"));
  await vi.advanceTimersByTimeAsync(30_000);
}

it("what is changed offline shows at once, waits, and is done when the network is back", async () => {
  await network(false);
  const ours = changes();

  ours.make(id, { status: "closed" });
  ours.make(id, { addLabels: ["urgent"] });
  ours.make(id, { assign: { to: "me", ifUnassigned: true } });
  await vi.advanceTimersByTimeAsync(60_000);

  expect(ours.applied(OPEN)).toMatchObject({ status: "closed", labels: ["urgent", "vip"], assignedTo: "ann" });
  expect(ours.all().open.map(({ isWaiting }) => isWaiting)).toEqual([true, true, true]);
  expect(asked).toEqual([]);

  await network(true);
  expect(asked).toEqual([
    { status: "closed" },
    { addLabels: ["urgent"] },
    { assign: { to: "me", ifUnassigned: true } },
  ]);
  expect(ours.all().open).toEqual([]);
});

it("what waits survives a reload", async () => {
  await network(false);
  changes().make(id, { status: "closed" });

  const reloaded = changes();
  expect(reloaded.applied(OPEN).status).toBe("closed");
  await network(true);

  expect(asked).toContainEqual({ status: "closed" });
  expect(reloaded.all().open).toEqual([]);
  expect(changes().all().open).toEqual([]);
});

it("what is refused is undone, with the reason, until the next attempt", async () => {
  answers = [refused(409, "ALREADY_ASSIGNED"), done(OPEN)];
  const ours = changes();

  ours.make(id, { assign: { to: "me", ifUnassigned: true } });
  await vi.advanceTimersByTimeAsync(0);

  expect(ours.applied(OPEN).assignedTo).toBeNull();
  expect(ours.all()).toEqual({ open: [], refused: { [id]: text.changes.refused("No.") } });
  ours.make(id, { status: "closed" });
  expect(ours.all().refused).toEqual({});
});

it("what gets no answer is asked for again until there is one", async () => {
  answers = ["no answer", refused(503, "UNAVAILABLE"), refused(409, "CONFLICT"), done(OPEN)];
  const ours = changes();

  ours.make(id, { removeLabels: ["vip"] });
  await vi.advanceTimersByTimeAsync(0);
  expect(ours.all().open[0]?.isWaiting).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);

  expect(asked).toHaveLength(4);
  expect(ours.all().open).toEqual([]);
});
