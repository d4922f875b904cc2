import { useState } from "react";
import type { Conversation, Message } from "../api";

/**
 * Where "new messages" begin: at what was unread when the conversation was opened, or arrived while nobody looked; and how many
 * have come below what was on screen. `messages` come newest first, and what is newer is told by their order: ids of one second
 * have none.
 */
export function useNewMessages(conversation: Conversation, messages: Message[], isAtEnd: boolean) {
  const [firstNew, setFirstNew] = useState<string | null>(() => firstUnread(conversation, messages));
  const newest = messages[0]?.id ?? "";
  /** The newest message that was on screen. */
  const [seenUpTo, setSeenUpTo] = useState(newest);
  const isSeen = isAtEnd && document.visibilityState === "visible";
  const later = laterThan(messages, seenUpTo);
  const arrived = later.filter((message) => message.direction === "inbound");
  if (isSeen && seenUpTo !== newest) {
    setSeenUpTo(newest);
  } else if (!isSeen) {
    const oldest = arrived.at(-1);
    if (oldest && !later.some((message) => message.id === firstNew)) setFirstNew(oldest.id);
  }
  return { firstNew, unseen: arrived.length };
}

function laterThan(messages: Message[], id: string): Message[] {
  const index = messages.findIndex((message) => message.id === id);
  return index < 0 ? messages : messages.slice(0, index);
}

function firstUnread(conversation: Conversation, messages: Message[]): string | null {
  if (!conversation.unread) return null;
  const inbound = messages.filter((message) => message.direction === "inbound");
  return inbound[Math.min(conversation.unreadCount, inbound.length) - 1]?.id ?? null;
}
