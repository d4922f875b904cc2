import {
  hashKey,
  skipToken,
  useMutation,
  useQuery,
  useQueryClient,
  type QueryClient,
  type QueryKey,
  type UseQueryResult,
} from "@tanstack/react-query";
import { useCallback, useRef } from "react";
import {
  answer,
  type Conversation,
  type ConversationList,
  type Message,
  type Page,
  type UpdateConversation,
} from "../api";
import { useConsole } from "../console-context";
import { append, sync, upsert, type Order, type PagedList } from "../paged-list";
import { usePolling } from "../polling";
import type { Filter } from "./filter";

/** The head of a list is asked for all the time, what lies deeper seldom. */
const HEAD_LIMIT = 30;
const DEEPER_LIMIT = 100;
/** One in so many refreshes also refreshes what is on screen, where that is not the head. */
const DEEPER_EVERY = 4;

export const byLastMessage: Order<Conversation> = {
  id: (conversation) => conversation.id,
  key: (conversation) => `${conversation.lastMessage.timestamp}#${conversation.id}`,
  isNewer: (held, fetched) => held.updatedAt > fetched.updatedAt,
  leaves: () => true,
};

/** As the API orders the problems: by the newest message that is one. One that was settled stands where it would without. */
export const byProblem: Order<Conversation> = {
  ...byLastMessage,
  key: ({ problem, lastMessage }) => problem?.messageId ?? lastMessage.id,
};

const orderOf = (filter: Filter) => (filter.problem ? byProblem : byLastMessage);

/** WhatsApp tells whole seconds: what has the same time stands by its arrival, and else as the API gives it. */
export const byTime: Order<Message> = {
  id: (message) => message.id,
  key: (message) => message.timestamp + message.receivedAt,
  isNewer: (held, fetched) => held.statusHistory.length > fetched.statusHistory.length,
  leaves: () => false,
};

const listKey = (filter: Filter) => ["conversations", filter] as const;
const conversationKey = (id: string) => ["conversation", id] as const;
const threadKey = (id: string) => ["thread", id] as const;

/** A list that grows at its end and stays up to date. */
export interface LivePages<T> {
  query: UseQueryResult<PagedList<T>>;
  /** Loads what comes after the last item, unless that is under way or there is nothing more. */
  more: () => void;
  moreFailed: boolean;
  /** Tells the topmost item on screen: what lies there is kept up to date, too. */
  watch: (item: T | undefined) => void;
}

/** The key of the topmost item on screen, by list. */
const watched = new Map<string, string>();

function useLivePages<T>(
  key: QueryKey,
  order: Order<T>,
  fetchPage: (cursor: string | null) => Promise<Page<T>>,
  polls = true,
): LivePages<T> {
  const queries = useQueryClient();
  const refreshes = useRef(0);
  const hash = hashKey(key);
  const held = () => queries.getQueryData<PagedList<T>>(key);
  const polling = usePolling();
  const query = useQuery({
    queryKey: key,
    queryFn: () => {
      const isDeeper = ++refreshes.current % DEEPER_EVERY === 0;
      return sync(order, held, fetchPage, isDeeper ? watched.get(hash) : undefined);
    },
    structuralSharing: false,
    ...polling,
    ...(!polls && { refetchInterval: false }),
  });
  const { mutate, isPending, isError } = useMutation({
    retry: 2,
    mutationFn: async (cursor: string) => {
      const page = await fetchPage(cursor);
      queries.setQueryData<PagedList<T>>(key, (list) => list && append(order, list, cursor, page));
    },
  });
  const next = query.data?.next;
  const more = useCallback(() => {
    if (next && !isPending) mutate(next);
  }, [next, isPending, mutate]);
  const watch = (item: T | undefined) => {
    if (item === undefined) watched.delete(hash);
    else watched.set(hash, order.key(item));
  };
  return { query, more, moreFailed: isError, watch };
}

/**
 * The conversations that a filter lets through. The one that is `open` stays listed while it is, even if reading or closing it
 * took it out of the filter.
 */
export function useConversations(filter: Filter, open: string | undefined): LivePages<Conversation> {
  const order = { ...orderOf(filter), leaves: (conversation: Conversation) => conversation.id !== open };
  return useLivePages(listKey(filter), order, useFetchConversations(filter));
}

/** The newest conversations of all; `polls` unless a list without a filter does so anyway. */
export function useInbox(polls: boolean): UseQueryResult<PagedList<Conversation>> {
  return useLivePages(listKey({}), byLastMessage, useFetchConversations({}), polls).query;
}

/** The conversations with a problem, whichever is listed; `refreshProblems` says when they are asked for again. */
export function useProblems(): UseQueryResult<PagedList<Conversation>> {
  return useLivePages(listKey(PROBLEMS), byProblem, useFetchConversations(PROBLEMS), false).query;
}

export function refreshProblems(queries: QueryClient): void {
  void queries.invalidateQueries({ queryKey: listKey(PROBLEMS), exact: true });
}

const PROBLEMS = { problem: true } as const satisfies Filter;

function useFetchConversations(filter: Filter): (cursor: string | null) => Promise<Page<Conversation>> {
  const { api } = useConsole();
  const queries = useQueryClient();
  return async (cursor) => {
    const query = { ...filter, limit: cursor ? DEEPER_LIMIT : HEAD_LIMIT, ...(cursor && { cursor }) };
    const page: ConversationList = await answer(api.GET("/api/v1/conversations", { params: { query } }));
    queries.setQueryData(PROBLEM_COUNT_KEY, page.problemCount);
    return page;
  };
}

const PROBLEM_COUNT_KEY = ["problemCount"] as const;

/** In how many conversations a message failed or may not have arrived; every list of conversations tells it. */
export function useProblemCount(): number {
  return useQuery<number>({ queryKey: PROBLEM_COUNT_KEY, queryFn: skipToken }).data ?? 0;
}

/** How many are unread in all; `isMore` where they are more than one look can count. */
export interface UnreadTotal {
  ids: ReadonlySet<string>;
  isMore: boolean;
}

const UNREAD_KEY = ["unread"] as const;
/** Counting all unread conversations reads much of the inbox; in between, its head tells what changes. */
const RECOUNT_MS = 60_000;

export function useUnreadCount(): UseQueryResult<UnreadTotal> {
  const { api } = useConsole();
  return useQuery({
    queryKey: UNREAD_KEY,
    queryFn: async () => {
      const query = { unread: true, limit: DEEPER_LIMIT };
      const page: Page<Conversation> = await answer(api.GET("/api/v1/conversations", { params: { query } }));
      return { ids: new Set(page.items.map((item) => item.id)), isMore: page.pagination.hasNext };
    },
    structuralSharing: false,
    ...usePolling(RECOUNT_MS),
  });
}

/** Takes over what is known of some conversations into the count. */
export function tellUnread(queries: QueryClient, conversations: Conversation[]): void {
  queries.setQueryData<UnreadTotal>(UNREAD_KEY, (total) => {
    const changed = conversations.filter((conversation) => total?.ids.has(conversation.id) !== conversation.unread);
    if (!total || changed.length === 0) return total;
    const ids = new Set(total.ids);
    for (const { id, unread } of changed) {
      if (unread) ids.add(id);
      else ids.delete(id);
    }
    return { ...total, ids };
  });
}

/** One conversation; what the list knows of it shows at once. */
export function useConversation(id: string): UseQueryResult<Conversation> {
  const { api } = useConsole();
  const queries = useQueryClient();
  return useQuery({
    queryKey: conversationKey(id),
    queryFn: (): Promise<Conversation> =>
      answer(api.GET("/api/v1/conversations/{conversationId}", { params: { path: { conversationId: id } } })),
    placeholderData: () => listed(queries, id),
    ...usePolling(10_000),
  });
}

function listed(queries: QueryClient, id: string): Conversation | undefined {
  const lists = queries.getQueriesData<PagedList<Conversation>>({ queryKey: ["conversations"] });
  return lists.flatMap(([, list]) => list?.items ?? []).find((conversation) => conversation.id === id);
}

/** Shows everywhere what the server has answered of a conversation. */
export function tellConversation(queries: QueryClient, conversation: Conversation): void {
  queries.setQueryData(conversationKey(conversation.id), conversation);
  tellLists(queries, conversation.id, () => conversation);
  tellUnread(queries, [conversation]);
}

/** Changes a conversation, and shows the change everywhere. */
export function useUpdateConversation(id: string) {
  const { api } = useConsole();
  const queries = useQueryClient();
  return useMutation({
    mutationFn: (changes: UpdateConversation): Promise<Conversation> => {
      // The client's types take a field that can only be null, `problem`, for one that is never sent.
      const body = changes as Omit<UpdateConversation, "problem">;
      const params = { path: { conversationId: id } };
      return answer(api.PATCH("/api/v1/conversations/{conversationId}", { params, body }));
    },
    onSuccess: (conversation) => tellConversation(queries, conversation),
    // What was shown may be what made it fail: somebody else was faster.
    onError: () => queries.invalidateQueries({ queryKey: conversationKey(id) }),
  });
}

/** Changes a conversation in every list that holds it. */
function tellLists(queries: QueryClient, id: string, change: (held: Conversation) => Conversation): void {
  for (const [key, list] of queries.getQueriesData<PagedList<Conversation>>({ queryKey: ["conversations"] })) {
    const held = list?.items.find((item) => item.id === id);
    const order = orderOf(key[1] as Filter);
    if (list && held) queries.setQueryData(key, upsert(order, list, change(held)));
  }
}

/** A conversation's messages, newest first. */
export function useThread(id: string): LivePages<Message> {
  const { api } = useConsole();
  return useLivePages(threadKey(id), byTime, (cursor) => {
    const query = { limit: cursor ? DEEPER_LIMIT : HEAD_LIMIT, ...(cursor && { cursor }) };
    const params = { path: { conversationId: id }, query };
    return answer(api.GET("/api/v1/conversations/{conversationId}/messages", { params }));
  });
}

/** The newest message of a thread that is loaded. */
export function newestMessage(queries: QueryClient, id: string): Message | undefined {
  return queries.getQueryData<PagedList<Message>>(threadKey(id))?.items[0];
}

export function shownMessage(queries: QueryClient, id: string, messageId: string): Message | undefined {
  const list = queries.getQueryData<PagedList<Message>>(threadKey(id));
  return list?.items.find((message) => message.id === messageId);
}

/** Shows a message that the server has answered with: in its thread, and in the rows of its conversation. */
export function tellMessage(queries: QueryClient, conversationId: string, message: Message): void {
  queries.setQueryData<PagedList<Message>>(threadKey(conversationId), (list) => list && upsert(byTime, list, message));
  const { id, type, text, sender, timestamp, status, error } = message;
  tellLists(queries, conversationId, (held) => {
    if (text === null || timestamp < held.lastMessage.timestamp) return held;
    return { ...held, lastMessage: { id, type, text, sender, timestamp, status, error } };
  });
  refreshLists(queries);
}

/** Asks for what is new in a thread, and waits for it. */
export async function refreshThread(queries: QueryClient, id: string): Promise<void> {
  await queries.refetchQueries({ queryKey: threadKey(id) });
  refreshLists(queries);
}

function refreshLists(queries: QueryClient): void {
  void queries.invalidateQueries({ queryKey: ["conversations"] });
}

/** Asks again what may be sent, since the customer has written. */
export function refreshConversation(queries: QueryClient, id: string): void {
  void queries.invalidateQueries({ queryKey: conversationKey(id) });
}
