import { describe, expect, it } from "vitest";
import type { Integration, Message } from "../api";
import { conversation, integration, reply } from "../testing/examples";
import { nextStep, wasTaken } from "./next-step";

const FAILED_AT = "2026-11-23T10:00:00.000Z";
const LATER = "2026-11-23T10:05:00.000Z";
const NOW = Date.parse(LATER);
const open = conversation();
const whatsapp = integration({ lastSyncedAt: "2026-11-23T09:00:00.000Z" });

type Action = NonNullable<Message["error"]>["action"];

function failed(action: Action): Message {
  const error = { code: "1", title: "No", message: "No.", action };
  return reply({ status: "failed", statusHistory: [{ status: "failed", timestamp: FAILED_AT }], error });
}

describe("what can be done about a message that failed", () => {
  it.each([
    ["retry", "sendAgain"],
    ["fixContent", "edit"],
    ["later", "later"],
    ["template", "customer"],
    ["reconnect", "connection"],
    ["account", "account"],
    ["none", "none"],
  ] as const)("is, where the reason asks for %s: %s", (action, step) => {
    expect(nextStep(failed(action), open, whatsapp, NOW)).toBe(step);
  });

  it("is to wait for the customer, once the time to answer is over", () => {
    const closed = conversation({ window: { open: false, closesAt: FAILED_AT, allowed: ["template"] } });

    expect(nextStep(failed("retry"), closed, whatsapp, NOW)).toBe("customer");
    expect(nextStep(failed("none"), closed, whatsapp, NOW)).toBe("none");
  });

  it("is to send it again, once what it takes has come", () => {
    const window = { open: true, closesAt: "2026-11-24T10:01:00.000Z", allowed: [] };
    expect(nextStep(failed("template"), conversation({ window }), whatsapp, NOW)).toBe("sendAgain");

    const tested = integration({ lastSyncedAt: LATER });
    expect(nextStep(failed("reconnect"), open, tested, NOW)).toBe("sendAgain");
    expect(nextStep(failed("account"), open, tested, NOW)).toBe("sendAgain");

    expect(nextStep(failed("later"), open, whatsapp, Date.parse("2026-11-24T10:00:00.000Z"))).toBe("sendAgain");
  });

  it.each<[Partial<Integration>, string]>([
    [{ status: "error", lastSyncedAt: LATER }, "connection"],
    [{ status: "disconnected", lastSyncedAt: LATER }, "connection"],
    [{ health: { status: "blocked", reasons: [], checkedAt: LATER }, lastSyncedAt: LATER }, "account"],
  ])("is not to send it again while the channel cannot send: %o", (change, step) => {
    for (const action of ["retry", "reconnect", "account", "fixContent"] as const) {
      expect(nextStep(failed(action), open, integration(change), NOW)).toBe(step);
    }
  });
});

it("a message that the provider had was sent, whatever became of it then", () => {
  const step = (status: Message["statusHistory"][number]["status"]) => ({ status, timestamp: FAILED_AT });

  expect(wasTaken(reply({ statusHistory: [step("sending"), step("failed")] }))).toBe(false);
  expect(wasTaken(reply({ statusHistory: [step("sending"), step("accepted"), step("failed")] }))).toBe(true);
});
