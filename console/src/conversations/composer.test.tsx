// @vitest-environment jsdom
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, createEvent, fireEvent, render, screen } from "@testing-library/react";
import { createRef, useState } from "react";
import { MemoryRouter } from "react-router";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Conversation, Integration, Message } from "../api";
import { ConsoleContext, type Console } from "../console-context";
import { EMPTY_DRAFT } from "../drafts";
import { conversation, message, reply } from "../testing/examples";
import { text } from "../text";
import { Composer } from "./composer";

const send = vi.fn();
let isTouch: boolean;

beforeEach(() => {
  isTouch = false;
  send.mockClear();
  vi.stubGlobal("matchMedia", (query: string) => ({
    matches: query.includes("coarse") && isTouch,
    addEventListener: vi.fn(),
    removeEventListener: vi.fn(),
  }));
});
afterEach(() => {
  cleanup();
  vi.unstubAllGlobals();
});

const HOUR_MS = 60 * 60 * 1000;

/** A conversation whose window ends so many hours from now. */
function endingIn(hours: number): Conversation {
  const closesAt = new Date(Date.now() + hours * HOUR_MS).toISOString();
  return conversation({
    window: { open: hours > 0, closesAt, allowed: hours > 0 ? ["text", "template"] : ["template"] },
  });
}
const OPEN = endingIn(20);
const CLOSED = endingIn(-1);

function Harness({ shown, messages }: { shown: Conversation; messages: Message[] }) {
  const [draft, setDraft] = useState(EMPTY_DRAFT);
  return <Composer conversation={shown} messages={messages} draft={draft} onChange={setDraft} ref={createRef()} />;
}

const CONNECTED = { platform: "whatsapp", status: "connected", updatedAt: "2026-11-20T10:00:00.000Z" };

function page(shown: Conversation, messages: Message[] = [], account: Partial<Integration> = {}) {
  const queries = new QueryClient();
  queries.setQueryData(["integrations"], [{ ...CONNECTED, ...account }]);
  const console = {
    outbox: { send },
    identity: { role: "operator" },
    api: { GET: () => new Promise(() => undefined) },
  };
  return (
    <ConsoleContext value={console as unknown as Console}>
      <QueryClientProvider client={queries}>
        <MemoryRouter>
          <Harness shown={shown} messages={messages} />
        </MemoryRouter>
      </QueryClientProvider>
    </ConsoleContext>
  );
}

const box = () => screen.getByRole<HTMLTextAreaElement>("textbox");
const sendButton = () => screen.getByRole<HTMLButtonElement>("button", { name: text.composer.send });
const type = (words: string) => fireEvent.change(box(), { target: { value: words } });
/** Presses a key in the box; returns whether the browser goes on with what the key does there. */
const press = (key: string, details: object = {}) => fireEvent.keyDown(box(), { key, ...details });

describe("a reply whose window ends while it is being written", () => {
  it("stays a reply, and Enter sends it nowhere", () => {
    const { rerender } = render(page(OPEN));
    type("Yes, it is.");
    rerender(page(CLOSED));

    press("Enter");

    expect(send).not.toHaveBeenCalled();
    expect(box().value).toBe("Yes, it is.");
    expect(box().getAttribute("aria-label")).toBe(text.composer.label);
    expect(sendButton().disabled).toBe(true);
  });

  it("becomes a note only by choice", () => {
    const { rerender } = render(page(OPEN));
    type("Yes, it is.");
    rerender(page(CLOSED));

    fireEvent.click(screen.getByRole("button", { name: text.composer.keepAsNote }));
    expect(send).not.toHaveBeenCalled();
    press("Enter");

    expect(send).toHaveBeenCalledWith(expect.objectContaining({ text: "Yes, it is.", type: "internal_note" }));
  });
});

it("a note stays a note when the customer can be written to again", () => {
  const { rerender } = render(page(CLOSED));
  fireEvent.click(screen.getByRole("button", { name: text.composer.note }));
  type("Never answers");
  rerender(page(OPEN));

  press("Enter");

  expect(send).toHaveBeenCalledWith(expect.objectContaining({ type: "internal_note" }));
});

it("where another system answers, a note is all that can be written", () => {
  render(page(conversation({ channel: "website", metadata: { platform: null } })));
  type("Ask the bot");

  press("Enter");

  expect(send).toHaveBeenCalledWith(expect.objectContaining({ type: "internal_note" }));
});

describe("while an input method composes", () => {
  it.each([
    ["by the sign of the standard", { isComposing: true }],
    ["by the code that Safari gives the confirming Enter", { keyCode: 229 }],
  ])("Enter and Esc are its own, %s", (_, details) => {
    render(page(OPEN));
    type("はい");

    press("Enter", details);
    press("Escape", details);

    expect(send).not.toHaveBeenCalled();
    expect(box().value).toBe("はい");
  });
});

it("Enter breaks the line where one points with fingers", () => {
  isTouch = true;
  render(page(OPEN));
  type("First line");
  const enter = createEvent.keyDown(box(), { key: "Enter" });

  fireEvent(box(), enter);

  expect(send).not.toHaveBeenCalled();
  expect(enter.defaultPrevented).toBe(false);
});

it.each([
  [5, undefined],
  [3.5, "soon"],
  [0.5, "very-soon"],
])("the time that is left shows how short it is: %s hours", (hours, urgency) => {
  render(page(endingIn(hours)));

  expect(document.querySelector<HTMLElement>(".window")?.dataset["ends"]).toBe(urgency);
});

describe("beside a reply that failed", () => {
  /** One that the provider refused, for that reason. */
  const refused = (code: string, action: NonNullable<Message["error"]>["action"]) =>
    reply({ status: "failed", error: { code, title: "Refused", message: "It was refused.", action } });
  const promise = () => document.querySelector(".window");

  it("no time to answer is promised when the platform says that it is over", () => {
    const late = [refused("131047", "template"), message()];
    const { rerender } = render(page(OPEN, late));
    type("Once more");
    press("Enter");

    expect(promise()).toBeNull();
    expect(screen.getByText(text.composer.windowClosed.title)).toBeTruthy();
    expect(send).not.toHaveBeenCalled();
    expect(box().value).toBe("Once more");

    rerender(page(OPEN, [message({ id: "1795428100000-a" }), ...late]));
    expect(promise()).not.toBeNull();
    expect(sendButton().disabled).toBe(false);
  });

  it("a refused key stops at once, until the account was looked at again", () => {
    const messages = [refused("401", "reconnect"), message()];
    const { unmount } = render(page(OPEN, messages));
    type("Once more");

    expect(promise()).toBeNull();
    expect(screen.getByText(text.composer.notConnected.title("WhatsApp"))).toBeTruthy();
    expect(screen.getByText(text.composer.notConnected.operator, { exact: false })).toBeTruthy();
    expect(sendButton().disabled).toBe(true);

    unmount();
    render(page(OPEN, messages, { updatedAt: "2026-11-26T10:00:00.000Z" }));
    expect(promise()).not.toBeNull();
  });

  it("that says nothing of the next one, the time to answer stays", () => {
    render(page(OPEN, [refused("131026", "none"), message()]));

    expect(promise()).not.toBeNull();
  });
});
