import { useQueryClient } from "@tanstack/react-query";
import { LogOut, Menu, Share2, WifiOff, X } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore } from "react";
import { Link, NavLink, Outlet, useLocation, useOutletContext, useSearchParams } from "react-router";
import { announce } from "./announcer";
import { ChannelIcon } from "./channel-icon";
import { useConsole } from "./console-context";
import { CHANNELS, filterOf, searchOf, VIEWS, viewOf, withChannel, withView, type View } from "./conversations/filter";
import { tellUnread, useInbox, useUnreadCount } from "./conversations/queries";
import { text } from "./text";
import { withoutOverrides } from "./plain-text";
import { showUnread } from "./unread-badge";

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
  const menuButton = (
    <button
      type="button"
      className="icon-button menu-button"
      aria-label={text.nav.menu}
      aria-expanded={isMenuOpen}
      onClick={() => setIsMenuOpen(true)}
    >
      <Menu aria-hidden />
    </button>
  );
  return (
    <div className="shell" data-menu={isMenuOpen ? "open" : "closed"}>
      <a className="skip-link" href="#content">
        {text.skipToContent}
      </a>
      <Sidebar onClose={() => setIsMenuOpen(false)} />
      <div className="shell-main">
        <OfflineNotice />
        <Outlet context={{ menuButton } satisfies ShellContext} />
      </div>
    </div>
  );
}

function Sidebar({ onClose }: { onClose: () => void }) {
  const [parameters] = useSearchParams();
  const isInbox = useLocation().pathname.startsWith("/conversations");
  const filter = filterOf(parameters);
  const unread = useUnread({ listPolls: isInbox && searchOf(filter) === "" });
  const view = viewOf(filter);
  return (
    <div className="sidebar">
      <div className="sidebar-head">
        <span className="product">{text.product}</span>
        <button type="button" className="icon-button menu-button" aria-label={text.nav.closeMenu} onClick={onClose}>
          <X aria-hidden />
        </button>
      </div>
      {/* Choosing anything leads to it, also where the sidebar covers the page. */}
      <nav className="sidebar-nav" aria-label={text.nav.label} onClick={onClose}>
        <h2>{text.nav.views}</h2>
        <ul>
          {(Object.keys(VIEWS) as View[]).map((name) => (
            <li key={name}>
              <Link
                to={`/conversations${searchOf(withView(filter, isInbox && view === name ? null : name))}`}
                aria-current={isInbox && view === name ? "true" : undefined}
              >
                {text.nav.view[name]}
                {name === "unread" && unread && <span className="badge">{unread}</span>}
              </Link>
            </li>
          ))}
        </ul>
        <h2>{text.nav.channels}</h2>
        <ul>
          {[null, ...CHANNELS].map((channel) => (
            <li key={channel ?? "all"}>
              <Link
                to={`/conversations${searchOf(withChannel(filter, channel))}`}
                aria-current={isInbox && (filter.channel ?? null) === channel ? "true" : undefined}
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
            <NavLink to="/settings/socials">
              <Share2 aria-hidden />
              {text.nav.socials}
            </NavLink>
          </li>
        </ul>
      </nav>
      <Account />
    </div>
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
function useUnread({ listPolls }: { listPolls: boolean }): string | null {
  const queries = useQueryClient();
  const inbox = useInbox(!listPolls);
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
    const said = arrived.find((item) => item.unread && item.lastMessage.sender === "customer");
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

function OfflineNotice() {
  const isOnline = useSyncExternalStore(subscribeToNetwork, () => navigator.onLine);
  return isOnline ? null : (
    <p className="offline" role="status">
      <WifiOff aria-hidden /> {text.errors.offline}
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
