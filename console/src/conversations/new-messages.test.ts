// @vitest-environment jsdom
import { cleanup, renderHook } from "@testing-library/react";
import { afterEach, expect, it } from "vitest";
import type { Message } from "../api";
import { conversation, message } from "../testing/examples";
import { useNewMessages } from "./new-messages";

afterEach(cleanup);

/** Photos of one second, newest first; their ids stand in another order. */
const ALBUM = ["7", "f", "0", "9"].map((name) => message({ id: `1795427900000-${name}` }));
const UNREAD = conversation({ unread: true, unreadCount: 4 });
const READ = conversation({ unread: false, unreadCount: 0 });

interface Shown {
  messages: Message[];
  isAtEnd: boolean;
}

function opened(messages: Message[], of = READ) {
  const initialProps: Shown = { messages, isAtEnd: true };
  return renderHook((shown: Shown) => useNewMessages(of, shown.messages, shown.isAtEnd), { initialProps });
}

it("what was on screen is not new after scrolling up, however its ids are ordered", () => {
  const { result, rerender } = opened(ALBUM, UNREAD);

  rerender({ messages: ALBUM, isAtEnd: false });

  expect(result.current).toEqual({ firstNew: ALBUM[3]?.id, unseen: 0 });
});

it("what arrives in the same second while nobody looks is new, whatever its id", () => {
  const { result, rerender } = opened(ALBUM);
  const arrived = ["3", "1"].map((name) => message({ id: `1795427900000-${name}` }));

  rerender({ messages: [...arrived, ...ALBUM], isAtEnd: false });

  expect(result.current).toEqual({ firstNew: arrived[1]?.id, unseen: 2 });
});

it("new messages begin where the first of them arrived", () => {
  const { result, rerender } = opened(ALBUM);
  const first = message({ id: "1795427901000-b" });
  const second = message({ id: "1795427901000-a" });

  rerender({ messages: [first, ...ALBUM], isAtEnd: false });
  rerender({ messages: [second, first, ...ALBUM], isAtEnd: false });

  expect(result.current).toEqual({ firstNew: first.id, unseen: 2 });
});
