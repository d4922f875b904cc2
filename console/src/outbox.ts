import type { QueryClient } from "@tanstack/react-query";
import { announce } from "./announcer";
import { answer, ApiError, explain, type Api, type Message } from "./api";
import { newestMessage, refreshThread, shownMessage, tellMessage } from "./conversations/queries";
import type { Identity } from "./session";
import { text } from "./text";

/** A message from the moment that the operator sends it until the server's final answer is shown. */
export interface Outgoing {
  /** The idempotency key: made once, and the same for every repetition. */
  key: string;
  conversationId: string;
  text: string;
  type: Message["type"];
  replyTo: string | null;
  /** The message that it sends again. */
  resendOf: string | null;
  /** Milliseconds of the epoch. */
  createdAt: number;
  /** The newest message that was known before; what the server makes of this one comes later. */
  after: string;
  /**
   * `sending`: an answer is awaited. `unanswered`: none came, so nobody knows; trying again is safe.
   * `expired`: as before, but so long ago that the server has forgotten the key. `refused`: it was certainly not sent.
   */
  state: "sending" | "unanswered" | "expired" | "refused";
  /** Whether it may have left this machine. */
  hasLeft: boolean;
  /** Why it was refused, or has got no answer yet. */
  problem: string | null;
}

export type Draft = Pick<Outgoing, "conversationId" | "text" | "type" | "replyTo" | "resendOf">;

/** The server remembers a key for 24 hours. */
const KEY_LIFETIME_MS = 23 * 60 * 60 * 1000;
/** After a reload, what was sent this recently is sent on by itself; for what is older, the operator decides. */
const RESUME_WITHIN_MS = 10 * 60 * 1000;
const BACKOFF_MS = [1_000, 2_000, 4_000, 8_000];

/** What this operator sends, in this tab. It survives a reload, with its keys. */
export class Outbox {
  private entries: readonly Outgoing[];
  private readonly listeners = new Set<() => void>();
  private readonly storageKey: string;
  /** Messages of which people were told that they failed. */
  readonly told = new Set<string>();
  /** One at a time for each conversation, so that they arrive in the order in which they were written. */
  private readonly lines = new Map<string, Promise<void>>();

  constructor(
    private readonly api: Api,
    private readonly queries: QueryClient,
    identity: Identity,
    private readonly storage: Storage = window.sessionStorage,
  ) {
    this.storageKey = `outbox:${identity.organization}:${identity.user}`;
    this.entries = this.restored();
  }

  /** Goes on where a reload interrupted, and whenever the network is back. Returns how to stop. */
  start(): () => void {
    this.entries.filter((entry) => entry.state === "sending").forEach((entry) => this.enqueue(entry.key));
    const retryAll = () =>
      this.entries.filter((entry) => entry.state === "unanswered").forEach((entry) => this.retry(entry.key));
    window.addEventListener("online", retryAll);
    return () => window.removeEventListener("online", retryAll);
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  all = (): readonly Outgoing[] => this.entries;

  send(draft: Draft): void {
    this.sendAs(crypto.randomUUID(), draft);
  }

  /** Sends a message that failed, or perhaps did not arrive, as it was. However often it is asked for, it is sent once more. */
  sendAgain = ({ id, conversationId, text, replyTo }: Message): void => {
    const draft = {
      conversationId,
      text: text ?? "",
      type: "message",
      replyTo: replyTo?.id ?? null,
      resendOf: id,
    } as const;
    this.sendAs(`resend-${id}`, draft);
  };

  private sendAs(key: string, draft: Draft): void {
    const before = this.find(key);
    // What was refused never became a message: it may be tried again.
    if (before && before.state !== "refused") return;
    const entry: Outgoing = {
      ...draft,
      key,
      createdAt: Date.now(),
      after: newestMessage(this.queries, draft.conversationId)?.id ?? "",
      state: "sending",
      hasLeft: false,
      problem: null,
    };
    this.change([...this.entries.filter((other) => other.key !== key), entry]);
    this.enqueue(key);
  }

  /** Asks again with the same key: the customer gets one message, however often. */
  retry(key: string): void {
    const entry = this.find(key);
    if (entry?.state !== "unanswered") return;
    const isForgotten = Date.now() - entry.createdAt > KEY_LIFETIME_MS;
    this.update(key, { state: isForgotten ? "expired" : "sending", problem: null });
    if (!isForgotten) this.enqueue(key);
  }

  discard(key: string): void {
    this.change(this.entries.filter((entry) => entry.key !== key));
  }

  private enqueue(key: string): void {
    const id = this.find(key)?.conversationId;
    if (id === undefined) return;
    const line = (this.lines.get(id) ?? Promise.resolve()).then(() => this.deliver(key));
    this.lines.set(id, line);
  }

  private async deliver(key: string): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const entry = this.find(key);
      if (entry?.state !== "sending") return;
      if (!navigator.onLine) {
        this.update(key, { state: "unanswered" });
        return;
      }
      this.update(key, { hasLeft: true });
      const problem = await this.attempt(entry);
      if (problem === null) return;
      const backoff = BACKOFF_MS[attempt];
      if (backoff === undefined) {
        this.update(key, { state: "unanswered", problem });
        return;
      }
      this.update(key, { problem });
      await new Promise((resolve) => setTimeout(resolve, backoff));
    }
  }

  /** Sends once. Returns what is wrong where the answer isn't final. */
  private async attempt(entry: Outgoing): Promise<string | null> {
    const { key, conversationId, type, replyTo, resendOf } = entry;
    const request = this.api.POST("/api/v1/conversations/{conversationId}/messages", {
      params: { path: { conversationId }, header: { "Idempotency-Key": key } },
      body: { text: entry.text, type, ...(replyTo && { replyTo }), ...(resendOf && { resendOf }) },
    });
    try {
      const message = await answer<Message>(request);
      tellMessage(this.queries, conversationId, message);
      this.discard(key);
      announce(outcomeOf(message));
      return null;
    } catch (error) {
      if (!isFinal(error)) return explain(error);
      const failed = keptAsFailed(error);
      // The server says why in the thread, also where another was faster to send this again.
      if (failed) this.told.add(failed);
      if (failed || resendOf) await refreshThread(this.queries, conversationId);
      const reason = failed && shownMessage(this.queries, conversationId, failed)?.error?.message;
      announce(text.announce.failed(reason ?? explain(error)));
      if (failed) this.discard(key);
      else this.update(key, { state: "refused", problem: explain(error) });
      return null;
    }
  }

  private find(key: string): Outgoing | undefined {
    return this.entries.find((entry) => entry.key === key);
  }

  private update(key: string, change: Partial<Outgoing>): void {
    this.change(this.entries.map((entry) => (entry.key === key ? { ...entry, ...change } : entry)));
  }

  private change(entries: readonly Outgoing[]): void {
    this.entries = entries;
    if (entries.length) this.storage.setItem(this.storageKey, JSON.stringify(entries));
    else this.storage.removeItem(this.storageKey);
    this.listeners.forEach((listener) => listener());
  }

  private restored(): Outgoing[] {
    const stored = JSON.parse(this.storage.getItem(this.storageKey) ?? "[]") as Outgoing[];
    return stored.map((entry) => {
      if (entry.state === "refused") return entry;
      const age = Date.now() - entry.createdAt;
      const state = age > KEY_LIFETIME_MS ? "expired" : age > RESUME_WITHIN_MS ? "unanswered" : "sending";
      return { ...entry, state };
    });
  }
}

function outcomeOf({ type, status }: Message): string {
  if (type === "internal_note") return text.announce.noteAdded;
  return status === "unknown" ? text.announce.notKnown : text.announce.sent;
}

/** The message that the server keeps as failed. */
function keptAsFailed(error: unknown): string | null {
  if (!(error instanceof ApiError) || error.code === "NOT_RESENDABLE") return null;
  return error.details.messageId ?? null;
}

/** Whether the same request with the same key would be answered the same. */
function isFinal(error: unknown): boolean {
  if (!(error instanceof ApiError)) return false;
  if (error.code === "PROVIDER_UNAVAILABLE") return true;
  return error.status >= 400 && error.status < 500 && ![401, 408, 429].includes(error.status);
}

/**
 * What of the outbox the thread does not show yet. The server stores a message before it answers, so the thread may show one whose
 * answer is still awaited: each entry is paired with the first later message of the same operator and text.
 */
export function unshown(outgoing: readonly Outgoing[], messages: readonly Message[], operator: string): Outgoing[] {
  const oldestFirst = messages.filter((message) => message.operatorId === operator).reverse();
  const taken = new Set<string>();
  return outgoing.filter((entry) => {
    if (entry.state === "refused") return true;
    const shown = oldestFirst.find(
      (message) =>
        !taken.has(message.id) &&
        message.id > entry.after &&
        message.text === entry.text &&
        message.type === entry.type,
    );
    if (shown) taken.add(shown.id);
    return !shown;
  });
}
