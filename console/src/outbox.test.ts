// @vitest-environment jsdom
import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { createApi, type Message } from "./api";
import { Outbox, unshown, type Outgoing } from "./outbox";
import type { Session } from "./session";
import { message, reply } from "./testing/examples";

const ID = "0123456789abcdef0123456789abcdef";
const ANN = { organization: "acme", user: "ann", role: "operator" } as const;
const DRAFT = { conversationId: ID, text: "Yes, it is.", type: "message", replyTo: null, resendOf: null } as const;
const HOUR_MS = 60 * 60 * 1000;

/** What the API answers, one after the other; the last one again and again. */
type Answer = Response | "no answer";
let answers: Answer[];
let keys: (string | null)[];
let bodies: unknown[];
let online: boolean;

const accepted = (body: Message = reply()) =>
  Response.json({ success: true, data: body, timestamp: "" }, { status: 201 });
const refused = (status: number, code: string, details: object | null = null) =>
  Response.json({ success: false, message: "no", error: { code, message: "no", details }, timestamp: "" }, { status });

function outbox(): Outbox {
  const session = { token: () => Promise.resolve("token"), renew: () => Promise.resolve(null), expire: vi.fn() };
  const queries = new QueryClient();
  queries.setQueryData(["thread", ID], { items: [message()], next: null, marks: [] });
  return new Outbox(createApi(session as unknown as Session), queries, ANN);
}

beforeEach(() => {
  vi.useFakeTimers();
  window.sessionStorage.clear();
  [answers, keys, bodies, online] = [[], [], [], true];
  vi.spyOn(navigator, "onLine", "get").mockImplementation(() => online);
  vi.stubGlobal("fetch", (request: Request) => {
    if (request.method !== "POST") return Promise.resolve(new Response("{}", { status: 500 }));
    keys.push(request.headers.get("Idempotency-Key"));
    void request.json().then((body) => bodies.push(body));
    const next = answers.length > 1 ? answers.shift() : answers[0];
    return next instanceof Response ? Promise.resolve(next.clone()) : Promise.reject(new TypeError("network"));
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

describe("the outbox", () => {
  it("is empty again once the message is accepted", async () => {
    answers = [accepted()];
    const box = outbox();

    box.send(DRAFT);
    expect(box.all()[0]?.state).toBe("sending");
    await vi.runAllTimersAsync();

    expect(box.all()).toEqual([]);
    expect(keys).toHaveLength(1);
  });

  it("repeats with the same key until there is an answer", async () => {
    answers = [
      "no answer",
      refused(503, "UNAVAILABLE"),
      new Response('{"message":"Too Many"}', { status: 429 }),
      accepted(),
    ];
    const box = outbox();

    box.send(DRAFT);
    await vi.runAllTimersAsync();

    expect(box.all()).toEqual([]);
    expect(keys).toHaveLength(4);
    expect(new Set(keys).size).toBe(1);
  });

  it("says that it does not know when no answer came, and tries again with the same key", async () => {
    answers = ["no answer"];
    const box = outbox();
    box.send(DRAFT);
    await vi.runAllTimersAsync();
    expect(box.all()[0]).toMatchObject({ state: "unanswered", hasLeft: true });

    answers = [accepted()];
    box.retry(box.all()[0]?.key ?? "");
    await vi.runAllTimersAsync();

    expect(box.all()).toEqual([]);
    expect(new Set(keys).size).toBe(1);
  });

  it("goes on after a reload, with the key from before", async () => {
    answers = ["no answer"];
    const before = outbox();
    before.send(DRAFT);
    await vi.advanceTimersByTimeAsync(100);

    answers = [accepted()];
    const after = outbox();
    after.start();
    await vi.runAllTimersAsync();

    expect(after.all()).toEqual([]);
    expect(new Set(keys).size).toBe(1);
  });

  it("lets the operator decide about what is older, and never repeats what the server has forgotten", async () => {
    answers = ["no answer"];
    outbox().send(DRAFT);
    await vi.runAllTimersAsync();
    const sent = keys.length;

    vi.setSystemTime(Date.now() + HOUR_MS);
    const later = outbox();
    later.start();
    await vi.runAllTimersAsync();
    expect(later.all()[0]?.state).toBe("unanswered");

    vi.setSystemTime(Date.now() + 24 * HOUR_MS);
    later.retry(later.all()[0]?.key ?? "");
    await vi.runAllTimersAsync();
    expect(later.all()[0]?.state).toBe("expired");
    expect(keys).toHaveLength(sent);
  });

  it("waits while offline, and sends when the connection is back", async () => {
    online = false;
    answers = [accepted()];
    const box = outbox();
    const stop = box.start();
    box.send(DRAFT);
    await vi.runAllTimersAsync();
    expect(box.all()[0]).toMatchObject({ state: "unanswered", hasLeft: false });
    expect(keys).toEqual([]);

    online = true;
    window.dispatchEvent(new Event("online"));
    await vi.runAllTimersAsync();

    expect(box.all()).toEqual([]);
    expect(keys).toHaveLength(1);
    stop();
  });

  it("keeps the text of what was refused, with the reason", async () => {
    answers = [refused(422, "WINDOW_CLOSED", { allowed: ["template"] })];
    const box = outbox();

    box.send(DRAFT);
    await vi.runAllTimersAsync();

    expect(box.all()[0]).toMatchObject({ state: "refused", text: "Yes, it is.", problem: "No." });
    expect(keys).toHaveLength(1);
  });

  it.each([
    refused(422, "PROVIDER_REJECTED", { messageId: "x" }),
    refused(503, "PROVIDER_UNAVAILABLE", { messageId: "x" }),
  ])("leaves a message that the server keeps as failed to the thread, and does not repeat it", async (answer) => {
    answers = [answer];
    const box = outbox();

    box.send(DRAFT);
    await vi.runAllTimersAsync();

    expect(box.all()).toEqual([]);
    expect(keys).toHaveLength(1);
  });

  it("sends one after the other, in the order in which they were written", async () => {
    answers = ["no answer", accepted()];
    const box = outbox();

    box.send(DRAFT);
    box.send({ ...DRAFT, text: "And there is a red one." });
    const [first, second] = box.all().map((entry) => entry.key);
    await vi.runAllTimersAsync();

    expect(keys).toEqual([first, first, second]);
  });

  it("sends a message that failed again once, however often it is asked to, and says which one it stands for", async () => {
    answers = [accepted()];
    const [box, failed] = [outbox(), reply({ status: "failed" })];

    box.sendAgain(failed);
    box.sendAgain(failed);
    await vi.runAllTimersAsync();
    expect(bodies).toEqual([{ text: "Yes, it is.", type: "message", resendOf: failed.id }]);

    // Another tab, or the same one before it knows what has come of the first.
    box.sendAgain(failed);
    await vi.runAllTimersAsync();
    expect(keys).toEqual([`resend-${failed.id}`, `resend-${failed.id}`]);
    expect(keys[0]).toMatch(/^[!-~]{1,64}$/);
  });

  it.each(["NOT_CONNECTED", "ACCOUNT_REPLACED"])("may send again what was refused with %s", async (code) => {
    answers = [refused(409, code), accepted()];
    const [box, failed] = [outbox(), reply({ status: "failed" })];
    box.sendAgain(failed);
    await vi.runAllTimersAsync();
    expect(box.all()).toMatchObject([{ state: "refused", resendOf: failed.id }]);

    box.sendAgain(failed);
    await vi.runAllTimersAsync();

    expect(box.all()).toEqual([]);
    expect(new Set(keys).size).toBe(1);
  });

  it("keeps what another has sent again first as refused, and takes it for no message of its own", async () => {
    const failed = reply({ status: "failed" });
    answers = [refused(409, "NOT_RESENDABLE", { messageId: failed.id })];
    const box = outbox();

    box.sendAgain(failed);
    await vi.runAllTimersAsync();

    expect(box.all()).toMatchObject([{ state: "refused", problem: "No." }]);
  });
});

describe("what the thread does not show yet", () => {
  const entry = (change: Partial<Outgoing> = {}): Outgoing => ({
    ...DRAFT,
    key: "key",
    createdAt: 0,
    after: message().id,
    state: "sending",
    hasLeft: true,
    problem: null,
    ...change,
  });

  it("is not what the server has stored already, though it has not answered", () => {
    expect(unshown([entry()], [reply({ status: "sending" }), message()], "ann")).toEqual([]);
  });

  it("is everything where the thread holds only an older message of the same text", () => {
    const older = reply({ id: "1795427800000-0123456789abcdef0123456789abcdef" });
    expect(unshown([entry()], [message(), older], "ann")).toHaveLength(1);
  });

  it("is the second of two equal messages, as long as only one is stored", () => {
    const left = unshown([entry({ key: "first" }), entry({ key: "second" })], [reply(), message()], "ann");
    expect(left.map((entry) => entry.key)).toEqual(["second"]);
  });

  it("is what was refused, a colleague's equal message notwithstanding", () => {
    expect(unshown([entry({ state: "refused" })], [reply()], "ann")).toHaveLength(1);
    expect(unshown([entry()], [reply({ operatorId: "bob" })], "ann")).toHaveLength(1);
  });
});
