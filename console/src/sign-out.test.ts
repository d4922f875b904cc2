// @vitest-environment jsdom
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { Config } from "./config";
import { Session } from "./session";

const ISSUER = "https://issuer.example";
const CONFIG: Config = {
  issuer: ISSUER,
  clientId: "console",
  token: "access_token",
  scope: "openid",
  claims: { organization: "organizationId", user: "sub", role: "role" },
  webhookUrl: "https://console.example/api/v1/webhooks/360dialog",
};
const STORED = `oidc.user:${ISSUER}:console`;

beforeEach(() => {
  const user = { access_token: "access", refresh_token: "refresh", token_type: "Bearer", profile: { sub: "ann" } };
  window.sessionStorage.setItem(STORED, JSON.stringify({ ...user, expires_at: Date.now() / 1000 + 600 }));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  window.sessionStorage.clear();
});

/** An issuer with these endpoints beside its discovery document; `revoke` is how it answers there. */
function issuer(endpoints: object, revoke: () => Promise<Response>) {
  const revoked: string[] = [];
  vi.stubGlobal("fetch", (url: string, init?: RequestInit) => {
    if (url === `${ISSUER}/revoke`) {
      revoked.push((init?.body as URLSearchParams).toString());
      return revoke();
    }
    const headers = { "Content-Type": "application/json" };
    return Promise.resolve(new Response(JSON.stringify({ issuer: ISSUER, ...endpoints }), { headers }));
  });
  return revoked;
}

const REVOKES = { revocation_endpoint: `${ISSUER}/revoke` };

async function signedOut(): Promise<void> {
  const session = new Session(CONFIG);
  await session.start();
  await session.signOut();
  expect(session.state).toEqual({ kind: "signedOut", reason: "none" });
  expect(window.sessionStorage.getItem(STORED)).toBeNull();
}

it("signing out revokes the refresh token at the issuer", async () => {
  const revoked = issuer(REVOKES, () => Promise.resolve(new Response()));

  await signedOut();

  expect(revoked).toEqual(["token=refresh&token_type_hint=refresh_token&client_id=console"]);
});

it.each([
  ["has no call to revoke", {}, () => Promise.resolve(new Response())],
  ["refuses", REVOKES, () => Promise.resolve(new Response("{}", { status: 400 }))],
  ["cannot be reached", REVOKES, () => Promise.reject(new TypeError("network"))],
])("signing out succeeds where the issuer %s", async (_, endpoints, revoke) => {
  issuer(endpoints, revoke);

  await signedOut();
});

it("signing out does not wait for an issuer that never answers", async () => {
  vi.useFakeTimers();
  issuer(REVOKES, () => new Promise(() => undefined));

  const leaving = signedOut();
  await vi.advanceTimersByTimeAsync(10_000);
  await leaving;
});
