import { useQueryClient } from "@tanstack/react-query";
import { LogOut, Menu, Share2, WifiOff, X } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { Link, NavLink, Outlet, useLocation, useOutletContext, useSearchParams } from "react-router";
import { announce } from "./announcer";
import type { Conversation } from "./api";
import { ChannelIcon } from "./channel-icon";
import { useConsole } from "./console-context";
import {
  CHANNELS,
  filterOf,
  searchOf,
  VIEWS,
  viewOf,
  withChannel,
  withView,
  type Filter,
  type View,
} from "./conversations/filter";
import { tellUnread, useInbox, useProblemCount, useUnreadCount } from "./conversations/queries";
import { isEscape } from "./keyboard";
import type { PagedList } from "./paged-list";
import { ProblemNotice, useProblemNews } from "./problem-notice";
import { text } from "./text";
import { ErrorBoundary } from "./ui/error-boundary";
import { withoutOverrides } from "./plain-text";
import { showUnread } from "./unread-badge";

/** The part of a page that it is about, for who wants to get past the sidebar. */
export const CONTENT_ID = "content";

interface ShellContext {
  /** Opens the sidebar where it has no room beside the page. */
  menuButton: React.ReactNode;
}

export function useMenuButton(): React.ReactNode {
  return useOutletContext<ShellContext>().menuButton;
}

/** What surrounds every page: the sidebar, the way past it, and what is told wherever somebody is. */
export function Shell() {
  const [isMenuOpen, setIsMenuOpen] = useState(false);
  const opener = useRef<HTMLButtonElement>(null);
  const [parameters] = useSearchParams();
  const { pathname } = useLocation();
  const isInbox = pathname.startsWith("/conversations");
  const filter = filterOf(parameters);
  const inbox = useInbox(!(isInbox && searchOf(filter) === ""));
  const unread = useUnread(inbox.data);
  const open = isInbox ? pathname.split("/")[2] : undefined;
  const problems = useProblemNews(inbox.data?.items, open);
  const menuButton = (
    <button
      type="button"
      ref={opener}
      className="icon-button menu-button"
      aria-label={text.nav.menu}
      aria-expanded={isMenuOpen}
      onClick={() => setIsMenuOpen(true)}
    >
      <Menu aria-hidden />
    </button>
  );
  const closeMenu = () => {
    setIsMenuOpen(false);
    opener.current?.focus();
  };
  return (
    <div className="shell" data-menu={isMenuOpen ? "open" : "closed"}>
      <a className="skip-link" href={`#${CONTENT_ID}`}>
        {text.skipToContent}
      </a>
      <Sidebar
        filter={isInbox ? filter : null}
        unread={unread}
        isMenuOpen={isMenuOpen}
        onChoose={() => setIsMenuOpen(false)}
        onClose={closeMenu}
      />
      {/* Where the problems are listed, they are seen. */}
      {!(isInbox && filter.problem) && (
        <ProblemNotice
          conversations={problems.conversations}
          search={isInbox ? searchOf(filter) : ""}
          onClose={() => {
            problems.clear();
            document.getElementById(CONTENT_ID)?.focus({ preventScroll: true });
          }}
        />
      )}
      {isMenuOpen && <div className="menu-backdrop" onClick={closeMenu} />}
      <div className="shell-main">
        <StaleNotice isUnreachable={inbox.isRefetchError} />
        {/* Another page is another attempt. */}
        <ErrorBoundary key={pathname.split("/")[1]}>
          <Outlet context={{ menuButton } satisfies ShellContext} />
        </ErrorBoundary>
      </div>
    </div>
  );
}

interface SidebarProps {
  /** What is listed; null on other pages. */
  filter: Filter | null;
  unread: string | null;
  isMenuOpen: boolean;
  onChoose: () => void;
  onClose: () => void;
}

function Sidebar({ filter, unread, isMenuOpen, onChoose, onClose }: SidebarProps) {
  const closer = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (isMenuOpen) closer.current?.focus();
  }, [isMenuOpen]);
  const problems = useProblemCount();
  const view = filter && viewOf(filter);
  return (
    <header className="sidebar" onKeyDown={(event) => isMenuOpen && isEscape(event) && onClose()}>
      <div className="sidebar-head">
        <span className="product">{text.product}</span>
        <button
          type="button"
          ref={closer}
          className="icon-button menu-button"
          aria-label={text.nav.closeMenu}
          onClick={onClose}
        >
          <X aria-hidden />
        </button>
      </div>
      <nav className="sidebar-nav" aria-label={text.nav.label}>
        <h2>{text.nav.views}</h2>
        <ul>
          {(Object.keys(VIEWS) as View[]).map((name) => (
            <li key={name}>
              <Link
                to={`/conversations${searchOf(withView(filter ?? {}, view === name ? null : name))}`}
                aria-current={view === name ? "true" : undefined}
                onClick={onChoose}
              >
                {text.nav.view[name]}
                {name === "unread" && unread && <span className="badge">{unread}</span>}
                {name === "problems" && problems > 0 && (
                  <span className="badge problem-count">{text.nav.problemCount(problems)}</span>
                )}
              </Link>
            </li>
          ))}
        </ul>
        <h2>{text.nav.channels}</h2>
        <ul>
          {[null, ...CHANNELS].map((channel) => (
            <li key={channel ?? "all"}>
              <Link
                to={`/conversations${searchOf(withChannel(filter ?? {}, channel))}`}
                aria-current={filter && (filter.channel ?? null) === channel ? "true" : undefined}
                onClick={onChoose}
              >
                <ChannelIcon channel={channel} />
                {text.nav.channel(channel)}
              </Link>
            </li>
          ))}
        </ul>
        <h2>{text.nav.settings}</h2>
        <ul>
          <li>
            <NavLink to="/settings/socials" onClick={onChoose}>
              <Share2 aria-hidden />
              {text.nav.socials}
            </NavLink>
          </li>
        </ul>
      </nav>
      <Account />
    </header>
  );
}

function Account() {
  const { identity, session } = useConsole();
  return (
    <section className="account" aria-label={text.account.label}>
      <div className="account-who">
        <strong>{identity.user}</strong>
        <span>
          {identity.organization} · {text.account.role(identity.role)}
        </span>
      </div>
      <button
        type="button"
        className="icon-button"
        aria-label={text.account.signOut}
        title={text.account.signOut}
        onClick={() => void session.signOut()}
      >
        <LogOut aria-hidden />
      </button>
    </section>
  );
}

/** How many conversations are unread, in all; tells of new messages, in words and in the tab's icon. */
function useUnread(inbox: PagedList<Conversation> | undefined): string | null {
  const queries = useQueryClient();
  const total = useUnreadCount().data;
  const newest = useRef<string | null>(null);
  useEffect(() => {
    if (!inbox) return;
    tellUnread(queries, inbox.items);
    const latest = inbox.items[0];
    const since = newest.current;
    newest.current = latest?.lastMessage.timestamp ?? "";
    if (since === null) return;
    const arrived = inbox.items.filter((item) => item.lastMessage.timestamp > since);
    const said = arrived.find((item) => item.lastMessage.sender === "customer");
    if (said) {
      const { name, id } = said.customer;
      announce(text.announce.newMessage(withoutOverrides(name ?? id), withoutOverrides(said.lastMessage.text)));
    }
  }, [inbox, queries, total]);
  const count = total?.ids.size ?? 0;
  const label = count === 0 ? null : total?.isMore || count > 99 ? "99+" : String(count);
  useEffect(() => showUnread(label), [label]);
  return label;
}

function StaleNotice({ isUnreachable }: { isUnreachable: boolean }) {
  const isOnline = useSyncExternalStore(subscribeToNetwork, () => navigator.onLine);
  if (isOnline && !isUnreachable) return null;
  return (
    <p className="stale" role="status">
      <WifiOff aria-hidden /> {isOnline ? text.errors.unreachable : text.errors.offline}
    </p>
  );
}

function subscribeToNetwork(listener: () => void): () => void {
  window.addEventListener("online", listener);
  window.addEventListener("offline", listener);
  return () => {
    window.removeEventListener("online", listener);
    window.removeEventListener("offline", listener);
  };
}
