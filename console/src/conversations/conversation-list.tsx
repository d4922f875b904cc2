import { useVirtualizer, type Range } from "@tanstack/react-virtual";
import { defaultRangeExtractor } from "@tanstack/react-virtual";
import { X } from "lucide-react";
import { useEffect, useState, type KeyboardEvent, type RefObject } from "react";
import { flushSync } from "react-dom";
import { Link, useNavigate } from "react-router";
import { announce } from "../announcer";
import { explain, type Conversation } from "../api";
import { useConsole } from "../console-context";
import { useFailure } from "../failure";
import { withoutOverrides } from "../plain-text";
import { CONTENT_ID, useMenuButton } from "../shell";
import { text } from "../text";
import { Empty, Loading, Problem, Skeleton } from "../ui/states";
import { ConversationRow, nameOf, ROW_HEIGHT } from "./conversation-row";
import { searchOf, viewOf, type Filter } from "./filter";
import { useConversations, useUpdateConversation } from "./queries";
import { useIntegrations } from "../settings/queries";

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
  const Heading = openId ? "h2" : "h1";
  const isBlank = query.data?.items.length === 0;
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
    >
      <header className="pane-header">
        {menuButton}
        <Heading>{titleOf(filter)}</Heading>
      </header>
      {query.isPending && !failure && <Skeleton rows={8} className="row-skeleton" />}
      {failure && (
        <Problem message={explain(failure)} onRetry={() => void query.refetch()} isTrying={query.isFetching} />
      )}
      {query.data && query.data.items.length > 0 && (
        <Rows
          conversations={query.data.items}
          openId={openId}
          filter={filter}
          list={list}
          onNoneLeft={() => ref.current?.focus()}
        />
      )}
      {isBlank && (query.data?.next === null ? <NothingListed filter={filter} /> : <Loading />)}
    </section>
  );
}

function titleOf(filter: Filter): string {
  const view = viewOf(filter);
  const channel = filter.channel ? text.nav.channel(filter.channel) : null;
  return [channel ?? (view ? null : text.list.title), view && text.nav.view[view]].filter(Boolean).join(" · ");
}

interface RowsProps {
  conversations: Conversation[];
  openId: string | undefined;
  filter: Filter;
  list: ReturnType<typeof useConversations>;
  /** The row with the focus was the last one. */
  onNoneLeft: () => void;
}

function Rows({ conversations, openId, filter, list, onNoneLeft }: RowsProps) {
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

  const focus = (index: number) => {
    const target = Math.max(0, Math.min(conversations.length - 1, index));
    const id = conversations[target]?.id;
    if (id === undefined) return;
    // At once, so that the next key already finds the focus where this one has led.
    flushSync(() => setFocusedId(id));
    scroller?.querySelector<HTMLElement>(`[data-id="${id}"]`)?.focus({ preventScroll: true });
    virtualizer.scrollToIndex(target);
  };
  const onDismissed = (index: number) => {
    announce(text.list.dismissed);
    if (conversations.length === 1) onNoneLeft();
    else focus(index + 1 < conversations.length ? index + 1 : index - 1);
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
    <div
      className="rows"
      ref={setScroller}
      onScroll={(event) => setIsScrolled(event.currentTarget.scrollTop > ROW_HEIGHT / 2)}
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
                  onFocus={() => setFocusedId(conversation.id)}
                />
                {filter.problem && conversation.problem && (
                  <DismissButton
                    conversation={conversation}
                    isReachable={index === reachable}
                    onDismissed={() => onDismissed(index)}
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
  );
}

interface DismissProps {
  conversation: Conversation;
  isReachable: boolean;
  onDismissed: () => void;
}

/** Takes a conversation out of the problems, from its row. */
function DismissButton({ conversation, isReachable, onDismissed }: DismissProps) {
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
        // Also when the row is gone by then: the focus has to go somewhere.
        update.mutateAsync({ problem: null }).then(onDismissed, (error: unknown) => announce(explain(error)));
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
  const isConnected = integrations.data?.some((integration) => integration.status === "connected");
  return (
    <Empty title={empty.title}>
      <p>{isConnected === false ? empty.connect : empty.connected}</p>
      {isConnected === false && identity.role === "admin" && (
        <Link className="button primary" to="/settings/socials">
          {empty.connectAction}
        </Link>
      )}
    </Empty>
  );
}
