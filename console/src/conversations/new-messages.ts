import { useState } from "react";
import type { Conversation, Message } from "../api";

/** How far somebody has read: up to a message that they have seen, or to right above one that they have not. */
interface Mark {
  id: string;
  isSeen: boolean;
}

/** What of a thread is on screen, as positions in it: the newest message has 0. */
export interface OnScreen {
  top: number;
  bottom: number;
}

/**
 * Where "new messages" begin: at what was unread when the conversation was opened, or arrived while nobody looked; and up to where
 * everything was on screen, without a gap. `messages` come newest first, and what is newer is told by their order: ids of one second
 * have none. `isWatched`: the newest is on screen, or will be as soon as it is drawn.
 */
export function useNewMessages(conversation: Conversation, messages: Message[], isWatched: boolean) {
  const newest = messages[0]?.id ?? "";
  const [firstNew, setFirstNew] = useState(conversation.firstUnreadId);
  const [known, setKnown] = useState(newest);
  const [mark, setMark] = useState<Mark>(() =>
    conversation.firstUnreadId ? { id: conversation.firstUnreadId, isSeen: false } : { id: newest, isSeen: true },
  );
  const edge = edgeOf(messages, mark);

  if (newest !== known) {
    setKnown(newest);
    const before = positionOf(messages, known);
    // As long as there is something that was not seen, the new begins there.
    const wasAllSeen = edge !== null && countInbound(messages, before, edge) === 0;
    const oldest = messages.slice(0, before).findLast(isInbound);
    if (!isWatched && wasAllSeen && oldest) setFirstNew(oldest.id);
  }

  /** Takes note of what is on screen. Of what was jumped over nothing was seen. */
  const see = ({ top, bottom }: OnScreen) => {
    const message = messages[bottom];
    if (message && edge !== null && top >= edge - 1 && bottom < edge) setMark({ id: message.id, isSeen: true });
  };

  /** How many of the customer's messages were not seen, above and below what is on screen; null: more than are loaded. */
  const unseen = ({ top, bottom }: OnScreen) => ({
    above: edge === null ? null : countInbound(messages, top + 1, edge),
    below: countInbound(messages, 0, Math.min(edge ?? bottom, bottom)),
  });

  return { firstNew, seenUpTo: mark.isSeen ? mark.id : null, see, unseen };
}

/** How many messages are newer than the last that was seen; null where what comes first of the unseen is not loaded. */
function edgeOf(messages: Message[], { id, isSeen }: Mark): number | null {
  if (isSeen) return positionOf(messages, id);
  const index = messages.findIndex((message) => message.id === id);
  return index < 0 ? null : index + 1;
}

/** What stands nowhere is older than all. */
function positionOf(messages: Message[], id: string): number {
  const index = messages.findIndex((message) => message.id === id);
  return index < 0 ? messages.length : index;
}

/** How many of the customer's messages stand from one position up to another, which is not among them. */
function countInbound(messages: Message[], from: number, to: number): number {
  return messages.slice(from, Math.max(from, to)).filter(isInbound).length;
}

function isInbound({ direction }: Message): boolean {
  return direction === "inbound";
}
