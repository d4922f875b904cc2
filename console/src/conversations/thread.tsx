import { useVirtualizer } from "@tanstack/react-virtual";
import { ArrowDown, ArrowUp } from "lucide-react";
import { useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import type { Conversation, Message } from "../api";
import { useConsole } from "../console-context";
import { useIsVisible } from "../polling";
import type { Outgoing } from "../outbox";
import { useIntegrations } from "../settings/queries";
import { text } from "../text";
import { dayName, dayOf, useNow } from "../time";
import { Loading, Problem } from "../ui/states";
import { MessageBubble } from "./message-bubble";
import { useNewMessages } from "./new-messages";
import { OutgoingBubble } from "./outgoing-bubble";
import type { LivePages } from "./queries";

/** Older messages are loaded when so many pixels are left above. */
const LOAD_AHEAD_PX = 1_500;
/** So close to the end counts as reading the newest message. */
const AT_END_PX = 60;
/** Room above the oldest message, for the note that older ones are loading. */
const TOP_PX = 56;

interface Props {
  conversation: Conversation;
  /** Newest first. */
  messages: Message[];
  outgoing: Outgoing[];
  list: LivePages<Message>;
  /** Tells up to which message everything was on screen. */
  onSeen: (id: string) => void;
  onReply: (message: Message) => void;
  onEdit: (entry: Outgoing) => void;
  /** Takes a message that failed into the composer. */
  onEditFailed: (message: Message) => void;
}

type Row =
  | { kind: "message"; key: string; message: Message; startsDay: boolean; isFirstNew: boolean }
  | { kind: "outgoing"; key: string; entry: Outgoing };

export function Thread({ conversation, messages, outgoing, list, onSeen, onReply, onEdit, onEditFailed }: Props) {
  const { identity, outbox } = useConsole();
  const integrations = useIntegrations();
  const integration = integrations.data?.find(({ platform }) => platform === conversation.metadata.platform);
  const unanswered = useSyncExternalStore(outbox.subscribe, outbox.all);
  const now = useNow();
  const [scroller, setScroller] = useState<HTMLDivElement | null>(null);
  const isVisible = useIsVisible();
  // What was unread is where it opens; whether that is the end, too, shows then.
  const [isAtEnd, setIsAtEnd] = useState(conversation.firstUnreadId === null);
  const hasOlder = list.query.data?.next != null;
  const { firstNew, seenUpTo, see, unseen } = useNewMessages(conversation, messages, isAtEnd && isVisible);
  const resent = useMemo(() => resentOf(messages), [messages]);
  const resending = new Set(unanswered.filter(({ state }) => state !== "refused").map(({ resendOf }) => resendOf));
  const byId = useMemo(() => new Map(messages.map((message) => [message.id, message])), [messages]);
  const rows = useMemo(() => rowsOf(messages, outgoing, hasOlder, firstNew), [messages, outgoing, hasOlder, firstNew]);

  const virtualizer = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller,
    getItemKey: (index) => rows[index]?.key ?? index,
    estimateSize: (index) => estimatedHeight(rows[index]),
    overscan: 6,
    paddingStart: TOP_PX,
    paddingEnd: 12,
    // What is being read stays where it is while older messages come above and newer ones below; at the end, the newest shows.
    anchorTo: "end",
    followOnAppend: true,
    scrollEndThreshold: AT_END_PX,
  });

  const count = rows.length;
  const isPlaced = useRef(false);
  useLayoutEffect(() => {
    if (!scroller || isPlaced.current || count === 0) return;
    isPlaced.current = true;
    const firstUnread = rows.findIndex((row) => row.kind === "message" && row.isFirstNew);
    if (firstUnread >= 0) virtualizer.scrollToIndex(firstUnread, { align: "start" });
    else virtualizer.scrollToIndex(count - 1, { align: "end" });
  }, [scroller, count, rows, virtualizer]);
  const newestOutgoing = outgoing.at(-1)?.key;
  useEffect(() => {
    // Who sends wants to see it, wherever they were reading.
    if (newestOutgoing) virtualizer.scrollToEnd();
  }, [newestOutgoing, virtualizer]);

  const { more, watch } = list;
  const items = virtualizer.getVirtualItems();
  const range = virtualizer.range;
  const topmost = rows[range?.endIndex ?? rows.length - 1];
  useEffect(() => {
    watch(topmost?.kind === "message" ? topmost.message : undefined);
  }, [watch, topmost]);
  const offset = virtualizer.scrollOffset ?? 0;
  const isNearTop = isPlaced.current && offset < LOAD_AHEAD_PX;
  useEffect(() => {
    if (isNearTop && hasOlder && !list.moreFailed) more();
  }, [isNearTop, hasOlder, more, list.moreFailed]);

  // From the oldest to the newest on screen, and the other way round in the thread; below stands what is on its way.
  const onScreen = isPlaced.current &&
    range && {
      top: Math.max(0, messages.length - 1 - range.startIndex),
      bottom: isAtEnd ? 0 : Math.max(0, messages.length - 1 - range.endIndex),
    };
  if (onScreen && isVisible) see(onScreen);
  useEffect(() => {
    if (seenUpTo) onSeen(seenUpTo);
  }, [seenUpTo, onSeen]);
  const { above, below } = onScreen ? unseen(onScreen) : { above: 0, below: 0 };

  const size = virtualizer.getTotalSize();
  useEffect(() => {
    if (!scroller || !isPlaced.current) return;
    setIsAtEnd(scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight <= AT_END_PX);
  }, [scroller, offset, size]);
  const showFirstUnseen = () => {
    const first = above === null ? 0 : rows.findIndex((row) => row.key === seenUpTo) + 1;
    virtualizer.scrollToIndex(first, { align: "start" });
  };
  const showMessage = (id: string) => {
    const index = rows.findIndex((row) => row.key === id);
    if (index >= 0) virtualizer.scrollToIndex(index, { align: "center" });
  };

  return (
    <div className="thread-frame">
      <div className="thread" ref={setScroller} tabIndex={0} role="region" aria-label={text.thread.label}>
        <div className="thread-size" style={{ height: size }}>
          <div className="thread-top">
            {list.moreFailed ? (
              <Problem message={text.thread.olderFailed} onRetry={more} />
            ) : hasOlder ? (
              <Loading label={text.thread.loadingOlder} />
            ) : (
              <p className="thread-start">{count ? text.thread.start : text.thread.empty}</p>
            )}
          </div>
          {items.map(({ key, index, start }) => {
            const row = rows[index];
            return (
              row && (
                <div
                  key={key}
                  data-index={index}
                  ref={virtualizer.measureElement}
                  className="thread-row"
                  style={{ transform: `translateY(${start}px)` }}
                >
                  {row.kind === "outgoing" ? (
                    <OutgoingBubble entry={row.entry} onEdit={onEdit} />
                  ) : (
                    <>
                      {row.startsDay && (
                        <h2 className="day">
                          <span>{dayName(row.message.timestamp, now)}</span>
                        </h2>
                      )}
                      {row.isFirstNew && (
                        <p className="new-marker">
                          <span>{text.thread.newMessages}</span>
                        </p>
                      )}
                      <MessageBubble
                        message={row.message}
                        conversation={conversation}
                        quoted={row.message.replyTo?.id ? byId.get(row.message.replyTo.id) : undefined}
                        me={identity.user}
                        integration={integration}
                        resentAs={row.message.resentAs ?? resent.get(row.message.id) ?? null}
                        isResending={resending.has(row.message.id)}
                        onReply={onReply}
                        onSendAgain={outbox.sendAgain}
                        onEdit={onEditFailed}
                        onShow={showMessage}
                      />
                    </>
                  )}
                </div>
              )
            );
          })}
        </div>
      </div>
      {above !== 0 && (
        <button type="button" className="button jump jump-up" onClick={showFirstUnseen}>
          <ArrowUp aria-hidden />
          {text.thread.unreadAbove(above)}
        </button>
      )}
      {!isAtEnd && (
        <button type="button" className="button jump" onClick={() => virtualizer.scrollToEnd()}>
          <ArrowDown aria-hidden />
          {below > 0 ? text.thread.jumpNew(below) : text.thread.jump}
        </button>
      )}
    </div>
  );
}

/** What was sent again as what: a new message is known before the old one that it stands for is asked for again. */
function resentOf(messages: Message[]): Map<string, string> {
  return new Map(messages.flatMap(({ id, resendOf }) => (resendOf ? [[resendOf, id]] : [])));
}

/** From the oldest to the newest. */
function rowsOf(messages: Message[], outgoing: Outgoing[], hasOlder: boolean, firstNew: string | null): Row[] {
  let dayBefore: string | null = null;
  const shown = messages.toReversed().map((message): Row => {
    const day = dayOf(message.timestamp);
    // Whether the oldest of those that are loaded is the first of its day is not known as long as there are older ones.
    const startsDay = dayBefore === null ? !hasOlder : dayBefore !== day;
    dayBefore = day;
    return { kind: "message", key: message.id, message, startsDay, isFirstNew: message.id === firstNew };
  });
  return [...shown, ...outgoing.map((entry): Row => ({ kind: "outgoing", key: entry.key, entry }))];
}

/** A first guess, which measuring replaces: by the length of the text. */
function estimatedHeight(row: Row | undefined): number {
  if (!row) return 0;
  const body = row.kind === "outgoing" ? row.entry.text : (row.message.text ?? "");
  const lines = body.split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / 60)), 0);
  const extra = row.kind === "message" && row.message.contentType !== "text" ? 60 : 0;
  return 52 + lines * 21 + extra;
}
