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

it.each([
  ["failed", "131026", "Failed"],
  ["unknown", null, "Not known"],
  ["unconfirmed", null, "Not confirmed"],
] as const)("a row tells that a message is %s", (kind, code, words) => {
  const at = "2026-11-23T10:00:00.000Z";

  expect(shown({ kind, messageId: "1795428000500-89abcdef0123456789abcdef01234567", code, at })).toBe(words);
});

it("a row without a problem has no mark", () => {
  expect(shown(null)).toBe("");
});
