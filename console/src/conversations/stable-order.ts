import { useCallback, useState, type FocusEvent, type PointerEvent } from "react";
import type { Conversation } from "../api";

/** A list as it is shown while it may not move. */
export interface Shown {
  conversations: Conversation[];
  /** How many are new, or would have moved up because the customer wrote. */
  newer: number;
  /** Those that have left the list since, and stay in their place. */
  gone: ReadonlySet<string>;
  /** The last message of each, when its place was taken. */
  since: ReadonlyMap<string, string>;
}

/** The list as it is now, in its own order. */
export function shownAs(live: Conversation[]): Shown {
  return { conversations: live, newer: 0, gone: new Set(), since: lastMessages(live) };
}

function lastMessages(conversations: Conversation[]): Map<string, string> {
  return new Map(conversations.map(({ id, lastMessage }) => [id, lastMessage.id]));
}

/**
 * What is shown, brought up to date without a move: each row keeps its place, also one that has left the list. What stands below the
 * last one follows it: it was loaded, or is new and everybody shown has written since. Everything else that is new waits.
 */
export function follow(shown: Shown, live: Conversation[]): Shown {
  if (shown.conversations.length === 0) return shownAs(live);
  const current = new Map(live.map((conversation) => [conversation.id, conversation]));
  const last = live.findLastIndex(({ id }) => shown.since.has(id));
  const below = last < 0 ? [] : live.slice(last + 1);
  const known = live.filter(({ id }) => shown.since.has(id));
  const left = shown.conversations.filter(({ id }) => current.has(id));
  const hasMoved = known.some(({ id }, index) => id !== left[index]?.id);
  const written = known.filter(
    ({ id, lastMessage }) => lastMessage.sender === "customer" && lastMessage.id !== shown.since.get(id),
  );
  return {
    conversations: [...shown.conversations.map((before) => current.get(before.id) ?? before), ...below],
    newer: live.length - below.length - known.length + (hasMoved ? written.length : 0),
    gone: new Set(shown.conversations.flatMap(({ id }) => (current.has(id) ? [] : [id]))),
    since: new Map([...shown.since, ...lastMessages(below)]),
  };
}

/**
 * Nothing moves under the pointer or the focus: as long as one of them is in the list, it stays in the order in which it was.
 * `handlers` go to the element that holds all of it; `release` brings the order up to date, `leave` also says that nobody is there.
 */
export function useStableOrder(live: Conversation[] | undefined) {
  const [isPointed, setIsPointed] = useState(false);
  const [isFocused, setIsFocused] = useState(false);
  const [held, setHeld] = useState<{ live: Conversation[]; shown: Shown } | null>(null);
  const isHeld = isPointed || isFocused;
  if (!isHeld && held) {
    setHeld(null);
  } else if (isHeld && live && held?.live !== live) {
    setHeld({ live, shown: held ? follow(held.shown, live) : shownAs(live) });
  }
  const release = useCallback(() => setHeld(null), []);
  const leave = useCallback(() => {
    setIsPointed(false);
    setIsFocused(false);
  }, []);
  // A finger points only while it touches.
  const point = ({ pointerType }: PointerEvent) => setIsPointed(pointerType !== "touch");
  const handlers = {
    onPointerEnter: point,
    onPointerMove: point,
    onPointerLeave: () => setIsPointed(false),
    onFocus: () => setIsFocused(true),
    onBlur: ({ currentTarget, relatedTarget }: FocusEvent) =>
      setIsFocused(relatedTarget instanceof Node && currentTarget.contains(relatedTarget)),
  };
  return { shown: held?.shown ?? (live && shownAs(live)), release, leave, handlers };
}
