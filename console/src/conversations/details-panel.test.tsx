// @vitest-environment jsdom
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, fireEvent, render, screen, waitFor } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { Changes } from "../changes";
import { ConsoleContext, type Console } from "../console-context";
import { conversation } from "../testing/examples";
import { text } from "../text";
import { DetailsPanel } from "./details-panel";

const patch = vi.fn();

beforeEach(() => {
  window.sessionStorage.clear();
  patch.mockReset().mockReturnValue(new Promise(() => undefined));
});
afterEach(cleanup);

function panel(shown: Parameters<typeof conversation>[0]) {
  const identity = { organization: "acme", role: "operator", user: "ann" } as const;
  const api = { PATCH: patch };
  const changes = new Changes(api as unknown as Console["api"], new QueryClient(), identity);
  render(
    <ConsoleContext value={{ identity, api, changes } as unknown as Console}>
      <QueryClientProvider client={new QueryClient()}>
        <DetailsPanel conversation={conversation(shown)} onClose={vi.fn()} onMarkedUnread={vi.fn()} />
      </QueryClientProvider>
    </ConsoleContext>,
  );
}

const press = (name: string) => fireEvent.click(screen.getByRole("button", { name }));
const sent = () => waitFor(() => (patch.mock.calls[0]?.[1] as { body: unknown }).body);

it("takes a conversation only while nobody has it", async () => {
  panel({ assignedTo: null });
  press(text.details.assignToMe);
  expect(await sent()).toEqual({ assign: { to: "me", ifUnassigned: true } });
});

it("takes over from whom it shows, and from nobody else", async () => {
  panel({ assignedTo: "bob" });
  press(text.details.assignToMe);
  expect(await sent()).toEqual({ assign: { to: "me", ifAssignedTo: "bob" } });
});

it("adds a label beside those of others", async () => {
  panel({ labels: ["vip"] });
  fireEvent.change(screen.getByLabelText(text.details.newLabel), { target: { value: "urgent" } });
  press(text.details.addLabel);
  expect(await sent()).toEqual({ addLabels: ["urgent"] });
});

it("removes one label and leaves the others", async () => {
  panel({ labels: ["vip", "urgent"] });
  press(text.details.removeLabel("vip"));
  expect(await sent()).toEqual({ removeLabels: ["vip"] });
});

/** What the panel tells, as names and values. */
const facts = () =>
  [...document.querySelectorAll("dl > div")].map((fact) => [...fact.children].map((part) => part.textContent));

it("tells the phone as people write it, and the id at the end", () => {
  panel({ customer: { id: "DE.81720034455667788990", name: null, phone: "491713920012", username: null } });

  expect(facts()[0]).toEqual([text.details.phone, "+49 171 392 0012"]);
  expect(facts().at(-1)).toEqual([text.details.id, "DE.81720034455667788990"]);
});

it("has seen a customer no later than their last message", () => {
  const { lastMessage } = conversation();
  panel({
    createdAt: "2026-11-26T12:17:00.000Z",
    lastMessage: { ...lastMessage, timestamp: "2026-11-23T09:58:20.000Z" },
  });

  const times = [...document.querySelectorAll("time")].map((time) => time.dateTime);
  expect(times).toEqual(["2026-11-23T09:58:20.000Z", "2026-11-23T09:58:20.000Z"]);
});

it("tells what waits for the network", async () => {
  vi.spyOn(navigator, "onLine", "get").mockReturnValue(false);
  panel({ labels: [] });

  press(text.details.closeConversation);

  expect((await screen.findByRole("status")).textContent).toContain(text.changes.waiting(["close"]));
  expect(patch).not.toHaveBeenCalled();
});
