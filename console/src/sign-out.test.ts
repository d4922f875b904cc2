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

/** Locks of a browser in which no other tab holds one; `before` is what another tab does while this one waits. */
function locks(before: () => void = () => undefined) {
  const request = (_: string, action: () => unknown) => {
    before();
    return Promise.resolve(action());
  };
  Object.defineProperty(navigator, "locks", { value: { request }, configurable: true });
}

beforeEach(() => {
  locks();
  document.cookie = "console-is-open=1";
  const user = { access_token: "access", refresh_token: "refresh", token_type: "Bearer", profile: { sub: "ann" } };
  window.localStorage.setItem(STORED, JSON.stringify({ ...user, expires_at: Date.now() / 1000 + 600 }));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  window.localStorage.clear();
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
  expect(window.localStorage.getItem(STORED)).toBeNull();
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

/** A session of another tab of the same browser. */
async function otherTab(): Promise<Session> {
  const session = new Session(CONFIG);
  await session.start();
  expect(session.state.kind).toBe("signedIn");
  return session;
}

/** What a browser tells the other tabs. */
function changed(key: string | null, newValue: string | null): void {
  window.dispatchEvent(new StorageEvent("storage", { storageArea: window.localStorage, key, newValue }));
}

it("signing out in one tab signs out the others, and leaves nothing in them", async () => {
  const other = await otherTab();
  window.sessionStorage.setItem("outbox:acme:ann", "[]");
  window.localStorage.setItem("draft:acme:ann:1", "{}");
  issuer({}, () => Promise.resolve(new Response()));

  await signedOut();
  changed(null, null);

  expect(other.state).toEqual({ kind: "signedOut", reason: "none" });
  expect([window.sessionStorage.length, window.localStorage.length]).toEqual([0, 0]);
});

it("a session that another tab found ended is over here, too, and the drafts stay", async () => {
  const other = await otherTab();
  window.localStorage.setItem("draft:acme:ann:1", "{}");
  window.localStorage.removeItem(STORED);
  changed(STORED, null);

  await vi.waitFor(() => expect(other.state).toEqual({ kind: "signedOut", reason: "expired" }));
  expect(window.localStorage.getItem("draft:acme:ann:1")).not.toBeNull();
});

it("a session does not outlive the browser", async () => {
  document.cookie = "console-is-open=; expires=Thu, 01 Jan 1970 00:00:00 GMT";
  const session = new Session(CONFIG);

  await session.start();

  expect(session.state.kind).toBe("signedOut");
  expect(window.localStorage.getItem(STORED)).toBeNull();
});

it("what another tab has renewed is not renewed again", async () => {
  const session = await otherTab();
  const fetched = vi.fn();
  vi.stubGlobal("fetch", fetched);
  locks(() => {
    const stored = JSON.parse(window.localStorage.getItem(STORED) ?? "") as object;
    window.localStorage.setItem(STORED, JSON.stringify({ ...stored, access_token: "renewed" }));
  });

  expect((await session.renew())?.access_token).toBe("renewed");
  expect(fetched).not.toHaveBeenCalled();
});
