import type { QueryClient } from "@tanstack/react-query";
import { announce } from "./announcer";
import { answer, ApiError, explain, type Api, type Conversation, type UpdateConversation } from "./api";
import { refreshConversation, tellConversation } from "./conversations/queries";
import type { Identity } from "./session";
import { text } from "./text";

/** What an operator does with a conversation as a whole. */
export type ChangeRequest = Pick<UpdateConversation, "status" | "assign" | "addLabels" | "removeLabels" | "read">;

/** A change of a conversation from the moment that the operator makes it until the server's answer is shown. */
export interface Change {
  key: string;
  conversationId: string;
  request: ChangeRequest;
  /** There was no answer, or no network to ask: it is asked for again. */
  isWaiting: boolean;
}

export interface ChangesState {
  open: readonly Change[];
  /** Why the last one was refused, by conversation, until somebody tries again. */
  refused: Readonly<Record<string, string>>;
}

const BACKOFF_MS = [1_000, 2_000, 4_000, 8_000, 15_000];

/**
 * What this operator changes, in this tab, with the rules of the outbox: it shows at once, it is asked for in order and until there is
 * an answer, which does no harm since a repeated change finds that it is done, and it survives a reload. What the server refuses is
 * undone, with its reason.
 */
export class Changes {
  private state: ChangesState;
  private readonly listeners = new Set<() => void>();
  private readonly storageKey: string;
  /** One at a time for each conversation. */
  private readonly lines = new Map<string, Promise<void>>();
  private isStopped = false;

  constructor(
    private readonly api: Api,
    private readonly queries: QueryClient,
    private readonly identity: Identity,
    private readonly storage: Storage = window.sessionStorage,
  ) {
    this.storageKey = `changes:${identity.organization}:${identity.user}`;
    this.state = { open: JSON.parse(this.storage.getItem(this.storageKey) ?? "[]") as Change[], refused: {} };
  }

  /** Goes on where a reload interrupted. Returns how to stop. */
  start(): () => void {
    this.isStopped = false;
    this.state.open.forEach((change) => this.enqueue(change));
    return () => (this.isStopped = true);
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  all = (): ChangesState => this.state;

  make(conversationId: string, request: ChangeRequest): void {
    const change = { key: crypto.randomUUID(), conversationId, request, isWaiting: !navigator.onLine };
    const refused = Object.entries(this.state.refused).filter(([id]) => id !== conversationId);
    this.set({ open: [...this.state.open, change], refused: Object.fromEntries(refused) });
    this.enqueue(change);
  }

  /** The conversation as it is once everything is done. */
  applied(conversation: Conversation): Conversation {
    const own = this.state.open.filter((change) => change.conversationId === conversation.id);
    return own.reduce((before, change) => applied(before, change.request, this.identity.user), conversation);
  }

  private enqueue({ key, conversationId }: Change): void {
    const line = (this.lines.get(conversationId) ?? Promise.resolve()).then(() => this.deliver(key));
    this.lines.set(conversationId, line);
  }

  private async deliver(key: string): Promise<void> {
    for (let attempt = 0; !this.isStopped; attempt++) {
      const change = this.state.open.find((change) => change.key === key);
      if (!change || (navigator.onLine && (await this.attempt(change)))) return;
      this.set({ ...this.state, open: this.state.open.map((c) => (c.key === key ? { ...c, isWaiting: true } : c)) });
      await this.nextChance(attempt);
    }
  }

  /** Asks once; whether the answer was final. */
  private async attempt({ key, conversationId, request }: Change): Promise<boolean> {
    const params = { path: { conversationId } };
    try {
      const conversation = await answer<Conversation>(
        this.api.PATCH("/api/v1/conversations/{conversationId}", { params, body: request }),
      );
      tellConversation(this.queries, conversation);
      this.remove(key);
      return true;
    } catch (error) {
      if (!isFinal(error)) return false;
      const problem = text.changes.refused(explain(error));
      announce(problem);
      this.remove(key, { [conversationId]: problem });
      // What was shown may be what made it fail: somebody else was faster.
      refreshConversation(this.queries, conversationId);
      return true;
    }
  }

  /** Some time, or the moment in which the network is back. */
  private async nextChance(attempt: number): Promise<void> {
    const delayMs = BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)];
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer);
        window.removeEventListener("online", done);
        resolve();
      };
      const timer = setTimeout(done, delayMs);
      window.addEventListener("online", done);
    });
  }

  private remove(key: string, refused: Record<string, string> = {}): void {
    const open = this.state.open.filter((change) => change.key !== key);
    this.set({ open, refused: { ...this.state.refused, ...refused } });
  }

  private set(state: ChangesState): void {
    this.state = state;
    if (state.open.length) this.storage.setItem(this.storageKey, JSON.stringify(state.open));
    else this.storage.removeItem(this.storageKey);
    this.listeners.forEach((listener) => listener());
  }
}

function applied(conversation: Conversation, request: ChangeRequest, me: string): Conversation {
  const { status, assign, addLabels = [], removeLabels = [], read } = request;
  const labels = [...new Set([...conversation.labels, ...addLabels])].sort();
  return {
    ...conversation,
    status: status ?? conversation.status,
    assignedTo: assign === undefined ? conversation.assignedTo : assign.to === "me" ? me : assign.to,
    labels: labels.filter((label) => !removeLabels.includes(label)),
    unread: read === undefined ? conversation.unread : !read,
  };
}

/** Whether the same request would be answered the same. */
function isFinal(error: unknown): boolean {
  if (!(error instanceof ApiError)) return true;
  return (
    error.status >= 400 && error.status < 500 && ![401, 408, 429].includes(error.status) && error.code !== "CONFLICT"
  );
}
