// @vitest-environment jsdom
import { cleanup, render, screen } from "@testing-library/react";
import { MemoryRouter } from "react-router";
import { afterEach, expect, it } from "vitest";
import type { Conversation } from "../api";
import { conversation } from "../testing/examples";
import { ConversationRow } from "./conversation-row";

afterEach(cleanup);

function shown(problem: Conversation["problem"]): string {
  render(
    <MemoryRouter>
      <ConversationRow
        conversation={conversation({ unread: false, problem })}
        to="/"
        isOpen={false}
        isReachable
        onFocus={() => undefined}
      />
    </MemoryRouter>,
  );
  return screen.getByRole("link").querySelector(".row-marks")?.textContent.trim() ?? "";
}

const at = "2026-11-23T10:00:00.000Z";
const LAST = conversation().lastMessage.id;
const EARLIER = "1795427000000-89abcdef0123456789abcdef01234567";

it.each([
  ["failed", "131026", "Failed", "Earlier: failed"],
  ["unknown", null, "Not known", "Earlier: not known"],
  ["unconfirmed", null, "Not confirmed", "Earlier: not confirmed"],
] as const)("a row tells that a message is %s, and whether it is the one shown", (kind, code, words, earlier) => {
  expect(shown({ kind, messageId: LAST, code, at })).toBe(words);
  cleanup();
  expect(shown({ kind, messageId: EARLIER, code, at })).toBe(earlier);
});

it("a row without a problem has no mark", () => {
  expect(shown(null)).toBe("");
});
