import type { Integration } from "../api";

/** How an account stands, in one: nothing is called connected that cannot send or does not receive. */
export type Standing = Integration["status"] | "none" | "blocked" | "elsewhere" | "waiting" | "limited";

/** What is in the way, the worst first: the connection, whether it can send, whether messages come in, and limits. */
export function standingOf(integration: Integration | undefined): Standing {
  if (!integration) return "none";
  const { status, claim, health, webhookElsewhere, webhookVerified } = integration;
  if (status === "disconnected") return "disconnected";
  if (status === "error" || claim === "lost") return "error";
  if (health?.status === "blocked") return "blocked";
  if (webhookElsewhere) return "elsewhere";
  if (!webhookVerified) return "waiting";
  return health?.status === "limited" ? "limited" : "connected";
}

/** What everybody has to know who answers customers. */
export type Trouble = Extract<Standing, "error" | "blocked" | "elsewhere">;

export function troubleOf(integration: Integration): Trouble | null {
  const standing = standingOf(integration);
  return standing === "error" || standing === "blocked" || standing === "elsewhere" ? standing : null;
}

/** Whether what a customer writes comes in, as far as it is known. */
export function receives(integration: Integration): boolean {
  return ["connected", "limited", "waiting", "blocked"].includes(standingOf(integration));
}
