import { describe, expect, it } from "vitest";
import type { Integration } from "../api";
import { integration } from "../testing/examples";
import { receives, standingOf, troubleOf } from "./standing";

const health = (status: "available" | "limited" | "blocked") => ({
  health: { status, reasons: [], checkedAt: "2026-11-23T09:00:00.000Z" },
});

describe("an account", () => {
  it.each<[string, Partial<Integration>]>([
    ["connected", {}],
    ["connected", { health: null }],
    ["limited", health("limited")],
    ["blocked", health("blocked")],
    ["blocked", { ...health("blocked"), webhookVerified: false }],
    ["elsewhere", { webhookElsewhere: true, webhookVerified: false }],
    ["waiting", { webhookVerified: false }],
    ["waiting", { ...health("limited"), webhookVerified: false, claim: "unproven" }],
    ["error", { status: "error", ...health("blocked") }],
    ["error", { claim: "lost" }],
    ["disconnected", { status: "disconnected", webhookVerified: false }],
  ])("is %s with %j", (standing, change) => {
    expect(standingOf(integration(change))).toBe(standing);
  });

  it("that is not there is none", () => {
    expect(standingOf(undefined)).toBe("none");
  });

  it("is in trouble only where somebody has to do something", () => {
    expect(troubleOf(integration(health("blocked")))).toBe("blocked");
    for (const change of [{}, health("limited"), { webhookVerified: false }, { status: "disconnected" } as const]) {
      expect(troubleOf(integration(change))).toBeNull();
    }
  });

  it("that cannot send still receives, one that points elsewhere does not", () => {
    expect(receives(integration(health("blocked")))).toBe(true);
    expect(receives(integration({ webhookElsewhere: true }))).toBe(false);
    expect(receives(integration({ status: "error" }))).toBe(false);
  });
});
