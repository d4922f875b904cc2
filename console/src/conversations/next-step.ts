import type { Conversation, Integration, Message } from "../api";

/**
 * What can be done about a message that failed: `sendAgain` and `edit` can work now, `none` of what we do would; the others wait for
 * something, which `text.thread.wait` says.
 */
export type NextStep = "sendAgain" | "edit" | "none" | Waiting;
export type Waiting = "later" | "customer" | "connection" | "account";

const DAY_MS = 24 * 60 * 60 * 1000;

/**
 * The provider's reason says what it would take; whether that has come meanwhile, the conversation and the integration say: sending
 * it again is only offered where it can work.
 */
export function nextStep(
  { error, statusHistory, timestamp }: Message,
  { window }: Conversation,
  integration: Integration | undefined,
  now: number,
): NextStep {
  const action = error?.action ?? "retry";
  if (action === "none") return "none";
  const failedAt = Date.parse(statusHistory.findLast((step) => step.status === "failed")?.timestamp ?? timestamp);
  const lastInboundAt = window.closesAt ? Date.parse(window.closesAt) - DAY_MS : 0;
  // To the platform, the time to answer was over, whatever is computed here: only what the customer wrote since opens it.
  if (!window.open || (action === "template" && lastInboundAt <= failedAt)) return "customer";
  if (action === "later" && now < failedAt + DAY_MS) return "later";
  if (integration && integration.status !== "connected") return "connection";
  if (integration?.health?.status === "blocked") return "account";
  const isCheckedSince = Date.parse(integration?.lastSyncedAt ?? "") > failedAt;
  if (action === "reconnect" && !isCheckedSince) return "connection";
  if (action === "account" && !isCheckedSince) return "account";
  return action === "fixContent" ? "edit" : "sendAgain";
}

/** Whether the provider had it before it failed: then it was sent, and not delivered. */
export function wasTaken({ statusHistory }: Message): boolean {
  return statusHistory.some((step) => ["accepted", "sent", "delivered", "read"].includes(step.status));
}
