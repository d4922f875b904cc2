import { useQueryClient } from "@tanstack/react-query";
import { ArrowLeft, PanelRight } from "lucide-react";
import { useEffect, useRef, useState, useSyncExternalStore, type KeyboardEvent } from "react";
import { Link, useNavigate } from "react-router";
import { ApiError, explain, type Conversation, type Message } from "../api";
import { ChannelIcon, channelOf } from "../channel-icon";
import { useConsole } from "../console-context";
import { EMPTY_DRAFT, followDraft, readDraft, writeDraft, type Draft } from "../drafts";
import { useFailure } from "../failure";
import { unshown } from "../outbox";
import { isEscape } from "../keyboard";
import { Foreign, withoutOverrides } from "../plain-text";
import { CONTENT_ID } from "../shell";
import { text } from "../text";
import { Empty, Problem, Skeleton } from "../ui/states";
import { PageTitle } from "../unread-badge";
import { Composer } from "./composer";
import { nameOf } from "./conversation-row";
import { DetailsPanel } from "./details-panel";
import { refreshConversation, useConversation, useThread, useUpdateConversation, type LivePages } from "./queries";
import { Thread } from "./thread";

interface Props {
  id: string;
  focusComposer: boolean;
  onBack: () => void;
}

/** The conversation that is open: its messages, the composer and the customer. */
export function ConversationPane({ id, focusComposer, onBack }: Props) {
  const { identity, outbox, changes } = useConsole();
  const { open } = useSyncExternalStore(changes.subscribe, changes.all);
  const conversation = useConversation(id);
  const thread = useThread(id);
  const failure = useFailure(conversation);
  const threadFailure = useFailure(thread.query);
  const outgoing = useSyncExternalStore(outbox.subscribe, outbox.all);
  const composer = useRef<HTMLTextAreaElement>(null);
  const detailsButton = useRef<HTMLButtonElement>(null);
  const [draft, setDraft] = useState(() => readDraft(identity, id));
  const [isDetailsOpen, setIsDetailsOpen] = useState(() => window.matchMedia("(min-width: 1280px)").matches);
  const [seenUpTo, setSeenUpTo] = useState<string | null>(null);
  const messages = thread.query.data?.items;
  const isLoaded = useBacklog(conversation.data, thread);
  // Nothing is asked for then, and nothing fails.
  const isOffline = !isLoaded && [conversation, thread.query].some(({ fetchStatus }) => fetchStatus === "paused");
  useMarkRead(id, messages, conversation.data?.unread, seenUpTo);
  useCanonicalAddress(id, conversation.data?.id);
  useProblem(id, messages);
  useEffect(() => followDraft(identity, id, setDraft), [identity, id]);
  useEffect(() => {
    if (focusComposer) composer.current?.focus();
  }, [focusComposer]);

  const change = (changed: Draft) => {
    setDraft(changed);
    writeDraft(identity, id, changed);
  };
  /** Takes a text back into the composer, after what is being written there. */
  const edit = (words: string, { isNote, replyTo, resendOf }: Omit<Draft, "text">) => {
    const both = draft.text.trim() ? `${draft.text}\n${words}` : words;
    change({ ...EMPTY_DRAFT, text: both, isNote, replyTo, resendOf });
    composer.current?.focus();
  };
  const closeDetails = () => {
    setIsDetailsOpen(false);
    detailsButton.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (isEscape(event) && !event.defaultPrevented) onBack();
  };

  if (failure) {
    const isMissing = failure instanceof ApiError && failure.status === 404;
    return (
      <main className="conversation-pane nothing-chosen" id={CONTENT_ID} tabIndex={-1}>
        <PageTitle>{text.list.title}</PageTitle>
        <BackButton label={text.thread.back} onClick={onBack} />
        {isMissing ? (
          <Empty title={text.thread.missing} level="h1">
            <p>{text.thread.missingHint}</p>
            <Link to="/conversations">{text.errors.toConversations}</Link>
          </Empty>
        ) : (
          <Problem
            message={explain(failure)}
            onRetry={() => void conversation.refetch()}
            isTrying={conversation.isFetching}
          />
        )}
      </main>
    );
  }
  const changed = conversation.data && changes.applied(conversation.data);
  const isWaiting = open.some((change) => change.conversationId === conversation.data?.id && change.isWaiting);
  const name = conversation.data && nameOf(conversation.data.customer);
  const entries = outgoing.filter((entry) => entry.conversationId === id);
  return (
    <div className="conversation-pane" data-details={isDetailsOpen ? "open" : "closed"} onKeyDown={onKeyDown}>
      <PageTitle>{name ? withoutOverrides(name) : text.list.title}</PageTitle>
      <main className="thread-pane" id={CONTENT_ID} tabIndex={-1}>
        <header className="pane-header">
          <BackButton label={text.thread.back} onClick={onBack} />
          {conversation.data && <ChannelIcon channel={channelOf(conversation.data)} />}
          <h1>{name && <Foreign>{name}</Foreign>}</h1>
          {changed?.status === "closed" && <span className="chip">{text.list.closed}</span>}
          {isWaiting && <span className="chip">{text.changes.waitingShort}</span>}
          <button
            type="button"
            ref={detailsButton}
            className="icon-button"
            aria-label={text.thread.details}
            title={text.thread.details}
            aria-expanded={isDetailsOpen}
            onClick={() => setIsDetailsOpen(!isDetailsOpen)}
          >
            <PanelRight aria-hidden />
          </button>
        </header>
        {threadFailure && (
          <Problem
            message={explain(threadFailure)}
            onRetry={() => void thread.query.refetch()}
            isTrying={thread.query.isFetching}
          />
        )}
        {!isLoaded && !threadFailure && !isOffline && <Skeleton rows={5} className="bubble-skeleton" />}
        {isOffline && (
          <Empty title={text.thread.offline}>
            <p>{text.thread.offlineHint}</p>
          </Empty>
        )}
        {messages && conversation.data && isLoaded && (
          <Thread
            conversation={conversation.data}
            messages={messages}
            outgoing={unshown(entries, messages, identity.user)}
            list={thread}
            onSeen={setSeenUpTo}
            onReply={(message) => {
              change({ ...draft, replyTo: message.id, isNote: false });
              composer.current?.focus();
            }}
            onEdit={(entry) => {
              outbox.discard(entry.key);
              edit(entry.text, { ...entry, isNote: entry.type === "internal_note" });
            }}
            onEditFailed={(message) => {
              edit(message.text ?? "", { isNote: false, replyTo: message.replyTo?.id ?? null, resendOf: message.id });
            }}
          />
        )}
        {conversation.data && (
          <Composer
            conversation={conversation.data}
            messages={messages ?? []}
            draft={draft}
            onChange={change}
            ref={composer}
          />
        )}
      </main>
      {changed && isDetailsOpen && (
        <DetailsPanel conversation={changed} onClose={closeDetails} onMarkedUnread={onBack} />
      )}
    </div>
  );
}

function BackButton({ label, onClick }: { label: string; onClick: () => void }) {
  return (
    <button type="button" className="icon-button back-button" aria-label={label} title={label} onClick={onClick}>
      <ArrowLeft aria-hidden />
    </button>
  );
}

/** So much of a thread is loaded at most to open it at its first unread message. */
const BACKLOG_MAX = 300;

/** Loads what is needed to open a thread at its first unread message; whether that is there, or too far away. */
function useBacklog(conversation: Conversation | undefined, { query, more, moreFailed }: LivePages<Message>): boolean {
  const [isLoaded, setIsLoaded] = useState(false);
  const first = conversation?.firstUnreadId;
  const list = query.data;
  const isHere =
    list !== undefined &&
    (!first ||
      list.next === null ||
      moreFailed ||
      list.items.length >= BACKLOG_MAX ||
      list.items.some((message) => message.id === first));
  const isKnown = conversation !== undefined && list !== undefined;
  if (isKnown && isHere && !isLoaded) setIsLoaded(true);
  const isNeeded = isKnown && !isHere && !isLoaded;
  useEffect(() => {
    if (isNeeded) more();
  }, [isNeeded, more]);
  return isLoaded;
}

/** Who scrolls through a backlog has read it when they come to rest. */
const MARK_AFTER_MS = 500;

/** Marks as read what somebody had before their eyes: everything up to `seenUpTo`. */
function useMarkRead(
  id: string,
  messages: Message[] | undefined,
  isUnread: boolean | undefined,
  seenUpTo: string | null,
): void {
  const queries = useQueryClient();
  const { mutate } = useUpdateConversation(id);
  /** `receivedAt` up to which this pane has marked, or found marked. */
  const read = useRef<string | null>(null);
  const marking = useRef<(() => void) | null>(null);
  const position = messages?.findIndex((message) => message.id === seenUpTo) ?? -1;
  const newest = latestOf(messages ?? []);
  const newestSeen = position < 0 ? "" : latestOf(messages?.slice(position) ?? []);
  useEffect(() => {
    if (!newest || isUnread === undefined) return;
    if (read.current !== null && newest > read.current) refreshConversation(queries, id);
    if (read.current === null && !isUnread) read.current = newest;
  }, [newest, isUnread, queries, id]);
  useEffect(() => {
    if (!seenUpTo || !newestSeen || isUnread === undefined) return;
    if (read.current !== null && newestSeen <= read.current) return;
    const mark = () => {
      marking.current = null;
      read.current = newestSeen;
      // Where it fails, the conversation stays unread: the next message, or opening it again, marks it.
      mutate({ readUpTo: seenUpTo });
    };
    marking.current = mark;
    if (position === 0) mark();
    const timer = setTimeout(() => marking.current?.(), MARK_AFTER_MS);
    return () => clearTimeout(timer);
  }, [seenUpTo, newestSeen, position, isUnread, mutate]);
  // Who leaves at once has seen it nevertheless.
  useEffect(() => () => marking.current?.(), []);
}

/** When the newest of the customer's messages arrived. */
function latestOf(messages: Message[]): string {
  const arrivals = messages.filter(({ direction }) => direction === "inbound").map(({ receivedAt }) => receivedAt);
  return arrivals.reduce((latest, at) => (at > latest ? at : latest), "");
}

/** Asks for the conversation's problem as soon as the thread shows one more message that failed. */
function useProblem(id: string, messages: Message[] | undefined): void {
  const queries = useQueryClient();
  const failed = messages?.filter((message) => message.status === "failed").length ?? 0;
  useEffect(() => {
    if (failed > 0) refreshConversation(queries, id);
  }, [failed, queries, id]);
}

/** Where a customer's conversations have been joined, the address moves on to the one that is left. */
function useCanonicalAddress(id: string, current: string | undefined): void {
  const navigate = useNavigate();
  useEffect(() => {
    if (current && current !== id) {
      void navigate(`/conversations/${current}${window.location.search}`, { replace: true });
    }
  }, [id, current, navigate]);
}
