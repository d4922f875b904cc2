import type { Conversation } from "../api";
import type { paths } from "../openapi";

type Query = NonNullable<paths["/api/v1/conversations"]["get"]["parameters"]["query"]>;

/** What of the inbox is listed; the same words in the address bar as in the API. */
export type Filter = Pick<Query, "channel" | "status" | "unread" | "assignedTo" | "label" | "problem">;
export type ChannelFilter = NonNullable<Filter["channel"]>;

export const CHANNELS = ["website", "whatsapp", "instagram", "facebook", "phone"] as const satisfies ChannelFilter[];

/** The views of the sidebar beside the channels. */
export const VIEWS = {
  open: { status: "open" },
  unread: { unread: true },
  mine: { assignedTo: "me" },
  problems: { problem: true },
  closed: { status: "closed" },
} as const satisfies Record<string, Filter>;
export type View = keyof typeof VIEWS;

export function filterOf(parameters: URLSearchParams): Filter {
  const channel = [...CHANNELS, "social" as const].find((name) => name === parameters.get("channel"));
  const status = (["open", "closed"] as const).find((name) => name === parameters.get("status"));
  const assignedTo = parameters.get("assignedTo");
  const label = parameters.get("label");
  return {
    ...(channel && { channel }),
    ...(status && { status }),
    ...(parameters.get("unread") === "true" && { unread: true }),
    ...(assignedTo && { assignedTo }),
    ...(label && { label }),
    ...(parameters.get("problem") === "true" && { problem: true }),
  };
}

/** The filter as the end of an address: `?channel=whatsapp`, or nothing. */
export function searchOf(filter: Filter): string {
  const entries = Object.entries(filter).map(([name, value]) => [name, String(value)]);
  return entries.length ? `?${new URLSearchParams(entries).toString()}` : "";
}

/** Whether a conversation belongs into the list, as far as it is known. */
export function isListed(filter: Filter, conversation: Conversation, me: string): boolean {
  const { status, unread, assignedTo, label, problem } = filter;
  return (
    (status === undefined || conversation.status === status) &&
    (!unread || conversation.unread) &&
    (assignedTo === undefined || conversation.assignedTo === (assignedTo === "me" ? me : assignedTo)) &&
    (label === undefined || conversation.labels.includes(label)) &&
    (!problem || conversation.problem !== null)
  );
}

export function viewOf(filter: Filter): View | null {
  if (filter.problem) return "problems";
  if (filter.unread) return "unread";
  if (filter.assignedTo === "me") return "mine";
  return filter.status ?? null;
}

/** The same channel, with another view. */
export function withView(filter: Filter, view: View | null): Filter {
  const { channel, label } = filter;
  return { ...(channel && { channel }), ...(label && { label }), ...(view && VIEWS[view]) };
}

/** The same view, of another channel. */
export function withChannel(filter: Filter, channel: ChannelFilter | null): Filter {
  const { status, unread, assignedTo, label, problem } = filter;
  return {
    ...(channel && { channel }),
    ...(status && { status }),
    ...(unread && { unread }),
    ...(assignedTo && { assignedTo }),
    ...(label && { label }),
    ...(problem && { problem }),
  };
}
