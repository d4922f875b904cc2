import { ErrorResponse, UserManager, WebStorageStateStore, type User } from "oidc-client-ts";
import type { Config } from "./config";

export type Role = "admin" | "operator" | "service";

/** Who is signed in. */
export interface Identity {
  organization: string;
  user: string;
  /** The strongest role of the token that the console knows; null where there is none. */
  role: Role | null;
}

export type SessionState =
  | { kind: "signedIn"; identity: Identity }
  /** `expired`: the session ended by itself; `failed`: the issuer refused, or could not be reached. */
  | { kind: "signedOut"; reason: "none" | "expired" | "failed" };

export const SIGNED_IN_PATH = "/signed-in";
/** A token is renewed when it has less than this to live. */
const RENEW_BEFORE_SECS = 60;
/** Signing out waits no longer than this for the issuer. */
const REVOKE_WITHIN_MS = 3_000;

/** How the keys of signed-in users begin in the storage. */
const USER_KEY = "oidc.user:";
/** In the way of whoever renews or ends the session, in any tab. */
const LOCK = "session";
/** Lives as long as the browser does: a cookie without a date. */
const BROWSER_SESSION = "console-is-open=1";

/**
 * The signed-in person of this browser, by OpenID Connect: authorization code with PKCE.
 *
 * The tokens stand in `localStorage`, so that a second tab is signed in. That is as safe as one tab's own storage: only scripts of this
 * origin can read it, and the Content-Security-Policy lets none run but the console's own, from its own files; what strangers write is
 * never markup. They do not outlive the browser: a cookie that ends with it, and says nothing, tells the next start to forget them.
 * One tab renews at a time, since refresh tokens rotate; and signing out empties the storage, which each other tab is told of.
 */
export class Session {
  state: SessionState = { kind: "signedOut", reason: "none" };
  private readonly manager: UserManager;
  private readonly listeners = new Set<() => void>();
  private renewal: Promise<User | null> | null = null;

  constructor(private readonly config: Config) {
    this.manager = new UserManager({
      authority: config.issuer,
      client_id: config.clientId,
      redirect_uri: `${window.location.origin}${SIGNED_IN_PATH}`,
      post_logout_redirect_uri: `${window.location.origin}/`,
      scope: config.scope,
      userStore: new WebStorageStateStore({ store: window.localStorage }),
      // A token is renewed when a request needs it: no timer, and no frame, which the Content-Security-Policy forbids.
      automaticSilentRenew: false,
    });
  }

  /** Takes up the session of this browser, or finishes the sign-in that led here. */
  async start(): Promise<void> {
    window.addEventListener("storage", (event) => void this.follow(event));
    try {
      if (window.location.pathname === SIGNED_IN_PATH) {
        const user = await this.manager.signinRedirectCallback();
        document.cookie = `${BROWSER_SESSION}; path=/; SameSite=Strict`;
        window.history.replaceState(null, "", typeof user.state === "string" ? user.state : "/");
        this.become(user);
      } else {
        if (!document.cookie.includes(BROWSER_SESSION)) await this.manager.removeUser();
        const user = await this.manager.getUser();
        if (user) this.become(user);
      }
    } catch {
      window.history.replaceState(null, "", "/");
      this.change({ kind: "signedOut", reason: "failed" });
    }
  }

  /** Leads to the issuer, and back to where the person is now. */
  async signIn(): Promise<void> {
    const { pathname, search } = window.location;
    try {
      await this.manager.signinRedirect({ state: pathname === SIGNED_IN_PATH ? "/" : pathname + search });
    } catch {
      this.change({ kind: "signedOut", reason: "failed" });
    }
  }

  /** Ends the session, here and at the issuer. */
  async signOut(): Promise<void> {
    const user = await navigator.locks.request(LOCK, async () => {
      const user = await this.manager.getUser();
      await this.revoke();
      window.sessionStorage.clear();
      window.localStorage.clear();
      return user;
    });
    await this.manager.removeUser();
    if (this.config.logoutUrl) {
      window.location.assign(this.config.logoutUrl);
      return;
    }
    this.change({ kind: "signedOut", reason: "none" });
    window.history.replaceState(null, "", "/");
    const metadata = await this.manager.metadataService.getMetadata().catch(() => null);
    if (metadata?.end_session_endpoint) {
      await this.manager.signoutRedirect(user?.id_token ? { id_token_hint: user.id_token } : {});
    }
  }

  /** The bearer token; null when the session has ended. Fails where the issuer had to be asked and did not answer. */
  async token(): Promise<string | null> {
    const user = await this.manager.getUser();
    if (!user) return null;
    const secondsLeft = this.secondsLeft(user);
    if (secondsLeft > RENEW_BEFORE_SECS) return this.bearer(user);
    try {
      const renewed = await this.renew();
      if (renewed) return this.bearer(renewed);
    } catch (error) {
      if (secondsLeft <= 0) throw error;
    }
    return secondsLeft > 0 ? this.bearer(user) : null;
  }

  /** A fresh session from the refresh token; null when the issuer gives none. Fails where it does not answer. */
  renew(): Promise<User | null> {
    this.renewal ??= this.renewOnce().finally(() => (this.renewal = null));
    return this.renewal;
  }

  /** The API no longer takes the token. */
  async expire(): Promise<void> {
    if (this.state.kind === "signedOut") return;
    await this.manager.removeUser();
    this.change({ kind: "signedOut", reason: "expired" });
  }

  subscribe = (listener: () => void): (() => void) => {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  };

  /** Makes the refresh token worthless. An issuer that has no call for it, or no answer, holds nobody back from leaving. */
  private async revoke(): Promise<void> {
    const revoked = this.manager.revokeTokens(["refresh_token"]).catch(() => undefined);
    await Promise.race([revoked, new Promise((resolve) => setTimeout(resolve, REVOKE_WITHIN_MS))]);
  }

  /** Refresh tokens rotate: two renewals at once would end the session. What another tab has renewed meanwhile is fresh enough. */
  private async renewOnce(): Promise<User | null> {
    const before = await this.manager.getUser();
    return navigator.locks.request(LOCK, async () => {
      const user = await this.manager.getUser();
      if (user && user.access_token !== before?.access_token) return user;
      if (!user?.refresh_token) return null;
      const renewed = await this.manager.signinSilent().catch((error: unknown) => {
        if (error instanceof ErrorResponse) return null;
        throw error;
      });
      if (renewed) this.become(renewed);
      return renewed;
    });
  }

  /** Does what another tab has done: signed out, signed in, or found the session ended. */
  private async follow({ storageArea, key }: StorageEvent): Promise<void> {
    if (storageArea !== window.localStorage) return;
    if (key === null) {
      window.sessionStorage.clear();
      this.change({ kind: "signedOut", reason: "none" });
    } else if (key.startsWith(USER_KEY)) {
      const user = await this.manager.getUser();
      if (user) this.become(user);
      else if (this.state.kind === "signedIn") this.change({ kind: "signedOut", reason: "expired" });
    }
  }

  private become(user: User): void {
    if (this.secondsLeft(user) <= 0 && !user.refresh_token) {
      this.change({ kind: "signedOut", reason: "expired" });
      return;
    }
    const identity = identityOf(this.claimsOf(user), this.config.claims);
    const before = this.state.kind === "signedIn" ? JSON.stringify(this.state.identity) : null;
    if (JSON.stringify(identity) !== before) this.change({ kind: "signedIn", identity });
  }

  private bearer(user: User): string | null {
    return (this.config.token === "id_token" ? user.id_token : user.access_token) ?? null;
  }

  private secondsLeft(user: User): number {
    const expires = this.claimsOf(user)["exp"] ?? user.expires_at;
    return typeof expires === "number" ? expires - Date.now() / 1000 : 0;
  }

  private claimsOf(user: User): Claims {
    return this.config.token === "id_token" ? { ...user.profile } : { ...user.profile, ...claimsIn(user.access_token) };
  }

  private change(state: SessionState): void {
    this.state = state;
    this.listeners.forEach((listener) => listener());
  }
}

type Claims = Record<string, unknown>;

/** The claims of a JWT; none of a token that is opaque. */
function claimsIn(token: string): Claims {
  try {
    const payload = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes)) as Claims;
  } catch {
    return {};
  }
}

export function identityOf(claims: Claims, names: Config["claims"]): Identity {
  const claim = (name: string) => claims[name] ?? claims[`custom:${name}`];
  const text = (value: unknown) => (typeof value === "string" ? value : "");
  const role = claim(names.role);
  const known = rolesOf(names.role, Array.isArray(role) ? `[${role.join(" ")}]` : text(role))[0];
  return { organization: text(claim(names.organization)), user: text(claim(names.user)), role: known ?? null };
}

const ROLES = ["admin", "operator", "service"] as const;

/** The roles that a claim tells, the mightiest first; as the API reads them (`shared/src/auth.rs`). */
function rolesOf(claim: string, value: string): (typeof ROLES)[number][] {
  const words = /^\[(.*)\]$/.exec(value)?.[1]?.split(" ") ?? [value];
  const roles = ROLES.filter((role) => words.includes(role));
  return claim === "cognito:groups" || words.length === roles.length ? roles : [];
}
