// @vitest-environment jsdom
import { act, cleanup, renderHook } from "@testing-library/react";
import { afterEach, expect, it } from "vitest";
import type { Message } from "../api";
import { conversation, message, reply } from "../testing/examples";
import { useNewMessages, type OnScreen } from "./new-messages";

afterEach(cleanup);

/** Photos of one second, newest first; their ids stand in another order. */
const ALBUM = ["7", "f", "0", "9"].map((name) => message({ id: `1795427900000-${name}` }));
const READ = conversation({ unread: false, unreadCount: 0, firstUnreadId: null });

interface Shown {
  messages: Message[];
  isWatched: boolean;
}

function opened(messages: Message[], of = READ) {
  const initialProps: Shown = { messages, isWatched: true };
  return renderHook((shown: Shown) => useNewMessages(of, shown.messages, shown.isWatched), { initialProps });
}

/** Opened at the first of so many unread messages, of so many in all. */
function openedUnread(unread: number, all = unread) {
  const messages = Array.from({ length: all }, (_, index) => message({ id: `${1795427900000 - index}-a` }));
  const firstUnreadId = messages[unread - 1]?.id ?? "1795420000000-a";
  return { messages, ...opened(messages, conversation({ unread: true, unreadCount: unread, firstUnreadId })) };
}

const END: OnScreen = { top: 3, bottom: 0 };

it("what was on screen is not new after scrolling up, however its ids are ordered", () => {
  const { result, rerender } = opened(ALBUM, conversation({ unread: true, firstUnreadId: "1795427900000-9" }));
  act(() => result.current.see(END));

  rerender({ messages: ALBUM, isWatched: false });

  expect(result.current.firstNew).toBe(ALBUM[3]?.id);
  expect(result.current.unseen({ top: 3, bottom: 3 })).toEqual({ above: 0, below: 0 });
});

it("what arrives in the same second while nobody looks is new, whatever its id", () => {
  const { result, rerender } = opened(ALBUM);
  const arrived = ["3", "1"].map((name) => message({ id: `1795427900000-${name}` }));

  rerender({ messages: [...arrived, ...ALBUM], isWatched: false });

  expect(result.current.firstNew).toBe(arrived[1]?.id);
  expect(result.current.unseen({ top: 5, bottom: 2 })).toEqual({ above: 0, below: 2 });
});

it("new messages begin where the first of them arrived", () => {
  const { result, rerender } = opened(ALBUM);
  const first = message({ id: "1795427901000-b" });
  const second = message({ id: "1795427901000-a" });

  rerender({ messages: [first, ...ALBUM], isWatched: false });
  rerender({ messages: [second, first, ...ALBUM], isWatched: false });

  expect(result.current.firstNew).toBe(first.id);
  expect(result.current.unseen({ top: 5, bottom: 2 })).toEqual({ above: 0, below: 2 });
});

it("what arrives before one's eyes is not marked as new", () => {
  const { result, rerender } = opened(ALBUM);

  rerender({ messages: [message({ id: "1795427901000-b" }), ...ALBUM], isWatched: true });

  expect(result.current.firstNew).toBeNull();
});

it("a reply of somebody else is not what the customer's new messages begin with", () => {
  const { result, rerender } = opened(ALBUM);
  const answer = reply({ id: "1795427901000-a" });
  const arrived = message({ id: "1795427902000-a" });

  rerender({ messages: [answer, ...ALBUM], isWatched: false });
  rerender({ messages: [arrived, answer, ...ALBUM], isWatched: false });

  expect(result.current.firstNew).toBe(arrived.id);
});

it("of a long backlog only what was on screen counts as seen", () => {
  const { messages, result } = openedUnread(90, 120);

  act(() => result.current.see({ top: 89, bottom: 80 }));

  expect(result.current.seenUpTo).toBe(messages[80]?.id);
  expect(result.current.firstNew).toBe(messages[89]?.id);
  expect(result.current.unseen({ top: 89, bottom: 80 })).toEqual({ above: 0, below: 80 });
});

it("what was jumped over is not seen, and is told to be above", () => {
  const { messages, result } = openedUnread(90, 120);
  act(() => result.current.see({ top: 89, bottom: 80 }));

  act(() => result.current.see({ top: 9, bottom: 0 }));

  expect(result.current.seenUpTo).toBe(messages[80]?.id);
  expect(result.current.unseen({ top: 9, bottom: 0 })).toEqual({ above: 70, below: 0 });
});

it("where the first unread message is not loaded, nothing counts as seen", () => {
  const { result } = openedUnread(99, 30);

  act(() => result.current.see({ top: 29, bottom: 0 }));

  expect(result.current.seenUpTo).toBeNull();
  expect(result.current.unseen({ top: 29, bottom: 0 }).above).toBeNull();
});
