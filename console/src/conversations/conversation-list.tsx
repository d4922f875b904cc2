import { useVirtualizer, type Range } from "@tanstack/react-virtual";
import { defaultRangeExtractor } from "@tanstack/react-virtual";
import { ArrowUp, X } from "lucide-react";
import { useEffect, useState, useSyncExternalStore, type KeyboardEvent, type RefObject } from "react";
import { createPortal, flushSync } from "react-dom";
import { Link, useNavigate } from "react-router";
import { announce } from "../announcer";
import { explain, type Conversation } from "../api";
import { useConsole } from "../console-context";
import { useFailure } from "../failure";
import { withoutOverrides } from "../plain-text";
import { CONTENT_ID, useMenuButton } from "../shell";
import { text } from "../text";
import { Empty, Loading, Problem, Skeleton } from "../ui/states";
import { ChannelTrouble } from "./channel-trouble";
import { ConversationRow, nameOf, ROW_HEIGHT } from "./conversation-row";
import { isListed, searchOf, viewOf, type Filter } from "./filter";
import { useConversations, useUpdateConversation } from "./queries";
import { useStableOrder, type Shown } from "./stable-order";
import { useIntegrations } from "../settings/queries";
import { receives } from "../settings/standing";

/** More is loaded when this many rows are left below. */
const LOAD_AHEAD_ROWS = 15;

interface Props {
  filter: Filter;
  openId: string | undefined;
  ref: RefObject<HTMLDivElement | null>;
}

export function ConversationList({ filter, openId, ref }: Props) {
  const menuButton = useMenuButton();
  const list = useConversations(filter, openId);
  const { query, more } = list;
  const failure = useFailure(query);
  const { shown, release, leave, handlers } = useStableOrder(query.data?.items);
  const [header, setHeader] = useState<HTMLElement | null>(null);
  useEffect(() => {
    // Where the conversation takes the list's room, nobody points at it any more; the browser does not say so.
    if (ref.current?.offsetParent === null) leave();
  }, [openId, leave, ref]);
  const Heading = openId ? "h2" : "h1";
  const isBlank = shown?.conversations.length === 0;
  useEffect(() => {
    // A filter that matches few gives blank pages before the end.
    if (isBlank) more();
  }, [isBlank, more]);
  return (
    <section
      className="conversation-list"
      aria-label={text.list.label}
      id={openId ? undefined : CONTENT_ID}
      tabIndex={-1}
      ref={ref}
      {...handlers}
    >
      <header className="pane-header" ref={setHeader}>
        {menuButton}
        <Heading>{titleOf(filter)}</Heading>
      </header>
      {query.isPending && !failure && <Skeleton rows={8} className="row-skeleton" />}
      {failure && (
        <Problem message={explain(failure)} onRetry={() => void query.refetch()} isTrying={query.isFetching} />
      )}
      {shown && !isBlank && (
        <Rows shown={shown} openId={openId} filter={filter} list={list} header={header} onRelease={release} />
      )}
      {isBlank && (query.data?.next === null ? <NothingListed filter={filter} /> : <Loading />)}
      <ChannelTrouble />
    </section>
  );
}

function titleOf(filter: Filter): string {
  const view = viewOf(filter);
  const channel = filter.channel ? text.nav.channel(filter.channel) : null;
  return [channel ?? (view ? null : text.list.title), view && text.nav.view[view]].filter(Boolean).join(" · ");
}

interface RowsProps {
  shown: Shown;
  openId: string | undefined;
  filter: Filter;
  list: ReturnType<typeof useConversations>;
  /** Where it is said that more waits: above the rows, none of which it may cover. */
  header: HTMLElement | null;
  /** Brings the order up to date. */
  onRelease: () => void;
}

function Rows({ shown, openId, filter, list, header, onRelease }: RowsProps) {
  const { identity, outbox } = useConsole();
  const outgoing = useSyncExternalStore(outbox.subscribe, outbox.all);
  const { conversations, newer, gone } = shown;
  const search = searchOf(filter);
  const [scroller, setScroller] = useState<HTMLDivElement | null>(null);
  const [isScrolled, setIsScrolled] = useState(false);
  const [focusedId, setFocusedId] = useState<string | null>(null);
  const navigate = useNavigate();
  const indexOf = (id: string | null | undefined) => conversations.findIndex((item) => item.id === id);
  // One row can be reached with Tab: the one last focused, or the open one, or the first.
  const reachable = [indexOf(focusedId), indexOf(openId), 0].find((index) => index >= 0) ?? 0;
  const virtualizer = useVirtualizer({
    count: conversations.length,
    getScrollElement: () => scroller,
    estimateSize: () => ROW_HEIGHT,
    getItemKey: (index) => conversations[index]?.id ?? index,
    overscan: 8,
    // At the top, what arrives pushes down; further down, what is being read stays where it is.
    anchorTo: isScrolled ? "end" : "start",
    // The row with the focus stays, or the focus would be lost.
    rangeExtractor: (range: Range) => [...new Set([...defaultRangeExtractor(range), reachable])].sort((a, b) => a - b),
  });
  const rows = virtualizer.getVirtualItems();
  const { more, watch } = list;
  const next = list.query.data?.next;
  const first = virtualizer.range?.startIndex ?? 0;
  const last = virtualizer.range?.endIndex ?? 0;
  useEffect(() => watch(conversations[first]), [watch, conversations, first]);
  useEffect(() => {
    if (!list.moreFailed && last >= conversations.length - LOAD_AHEAD_ROWS) more();
  }, [last, conversations.length, more, list.moreFailed]);

  const focusOn = (id: string) => {
    // At once, so that the next key already finds the focus where this one has led.
    flushSync(() => setFocusedId(id));
    scroller?.querySelector<HTMLElement>(`[data-id="${id}"]`)?.focus({ preventScroll: true });
  };
  const focus = (index: number) => {
    const target = Math.max(0, Math.min(conversations.length - 1, index));
    const id = conversations[target]?.id;
    if (id === undefined) return;
    focusOn(id);
    virtualizer.scrollToIndex(target);
  };
  const showNewer = () => {
    const newest = list.query.data?.items[0]?.id;
    flushSync(onRelease);
    if (newest !== undefined) focusOn(newest);
    virtualizer.scrollToOffset(0);
  };
  const doneOf = (conversation: Conversation) => {
    if (!gone.has(conversation.id) && isListed(filter, conversation, identity.user)) return undefined;
    const view = viewOf(filter) ?? "other";
    const isAnswered = view === "unread" && conversation.lastMessage.sender === "operator";
    return text.list.done[isAnswered ? "answered" : view];
  };
  const onScroll = (top: number) => {
    setIsScrolled(top > ROW_HEIGHT / 2);
    // Who scrolls to the top wants to see what is new.
    if (top === 0) onRelease();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const from = indexOf((event.target as HTMLElement).dataset["id"]);
    // A button beside the row has keys of its own.
    if (from < 0) return;
    const to = { ArrowDown: from + 1, ArrowUp: from - 1, Home: 0, End: conversations.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      focus(to);
    } else if (event.key === "Enter" && !event.metaKey && !event.ctrlKey && conversations[from]) {
      event.preventDefault();
      void navigate(`/conversations/${conversations[from].id}${search}`, { state: { compose: true } });
    }
  };

  return (
    <>
      <div
        className="rows"
        ref={setScroller}
        onScroll={(event) => onScroll(event.currentTarget.scrollTop)}
        onWheel={({ deltaY, currentTarget }) => deltaY < 0 && currentTarget.scrollTop === 0 && onRelease()}
      >
        <ul style={{ height: virtualizer.getTotalSize() }} onKeyDown={onKeyDown}>
          {rows.map(({ key, index, start }) => {
            const conversation = conversations[index];
            return (
              conversation && (
                <li
                  key={key}
                  aria-setsize={next ? -1 : conversations.length}
                  aria-posinset={index + 1}
                  style={{ transform: `translateY(${start}px)` }}
                >
                  <ConversationRow
                    conversation={conversation}
                    to={`/conversations/${conversation.id}${search}`}
                    isOpen={conversation.id === openId}
                    isReachable={index === reachable}
                    sending={outgoing.findLast(
                      ({ conversationId, state }) =>
                        conversationId === conversation.id && (state === "sending" || state === "unanswered"),
                    )}
                    done={doneOf(conversation)}
                    onFocus={() => setFocusedId(conversation.id)}
                  />
                  {filter.problem && conversation.problem && (
                    <DismissButton
                      conversation={conversation}
                      isReachable={index === reachable}
                      onDismiss={() => focusOn(conversation.id)}
                    />
                  )}
                </li>
              )
            );
          })}
        </ul>
        {list.moreFailed ? (
          <Problem message={text.list.moreFailed} onRetry={more} />
        ) : (
          next && <Loading label={text.list.loadingMore} />
        )}
      </div>
      {newer > 0 &&
        header &&
        createPortal(
          <button type="button" className="button newer" onClick={showNewer}>
            {text.list.newer(newer)} <ArrowUp aria-hidden />
          </button>,
          header,
        )}
    </>
  );
}

interface DismissProps {
  conversation: Conversation;
  isReachable: boolean;
  /** The button goes, and the row stays: the focus goes there. */
  onDismiss: () => void;
}

/** Takes a conversation out of the problems, from its row. */
function DismissButton({ conversation, isReachable, onDismiss }: DismissProps) {
  const update = useUpdateConversation(conversation.id);
  const name = text.list.dismissNamed(withoutOverrides(nameOf(conversation.customer)));
  return (
    <button
      type="button"
      className="icon-button row-dismiss"
      aria-label={name}
      title={update.isError ? explain(update.error) : text.list.dismiss}
      tabIndex={isReachable ? 0 : -1}
      onClick={() => {
        onDismiss();
        // Also where the button is gone by then.
        update.mutateAsync({ problem: null }).then(
          () => announce(text.list.dismissed),
          (error: unknown) => announce(explain(error)),
        );
      }}
    >
      <X aria-hidden />
    </button>
  );
}

function NothingListed({ filter }: { filter: Filter }) {
  const view = viewOf(filter);
  const isFiltered = searchOf(filter) !== "";
  const { identity } = useConsole();
  const integrations = useIntegrations();
  const { empty } = text.list;
  if (integrations.isPending && !isFiltered) return <Loading />;
  if (isFiltered) {
    const { title, hint } = view && !filter.label ? empty.view[view] : empty.filtered;
    return (
      <Empty title={title}>
        <p>{hint}</p>
        <Link to="/conversations">{empty.showAll}</Link>
      </Empty>
    );
  }
  const connected = integrations.data?.filter((integration) => integration.status !== "disconnected");
  const isMissing = connected?.length === 0;
  const isBroken = !isMissing && connected?.some(receives) === false;
  return (
    <Empty title={empty.title}>
      <p>{isMissing ? empty.connect : isBroken ? empty.broken : empty.connected}</p>
      {(isMissing || isBroken) && identity.role === "admin" && (
        <Link className="button primary" to="/settings/socials">
          {isMissing ? empty.connectAction : empty.brokenAction}
        </Link>
      )}
    </Empty>
  );
}
