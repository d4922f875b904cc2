import type { Page } from "./api";

/** What is loaded of a list that the API gives in pages, newest first, without a gap from its head on. */
export interface PagedList<T> {
  items: T[];
  /** Leads to what comes after the last item; null at the end. */
  next: string | null;
  /** The cursors used so far, and the key that each one goes on below. */
  marks: { cursor: string; below: string }[];
}

/** How items are told apart and ordered. */
export interface Order<T> {
  id: (item: T) => string;
  /** Items come by falling key. */
  key: (item: T) => string;
  /** Whether what is held is newer than what was fetched, since an index of the table lags behind. */
  isNewer: (held: T, fetched: T) => boolean;
  /** Whether an item that a page no longer contains has left the list. */
  leaves: (held: T) => boolean;
}

/** How many pages are followed to close a gap; beyond, what was loaded before is let go. */
const CATCH_UP_MAX_PAGES = 20;

/**
 * Brings a list up to date from its head: fetches until what is fetched meets what is loaded, so that nothing is skipped however
 * much has arrived, and refreshes the page that holds `watched` besides, when that lies deeper.
 */
export async function sync<T>(
  order: Order<T>,
  held: () => PagedList<T> | undefined,
  fetchPage: (cursor: string | null) => Promise<Page<T>>,
  watched?: string,
): Promise<PagedList<T>> {
  const pages = [await fetchPage(null)];
  while (!meets(order, held(), pages) && pages.length < CATCH_UP_MAX_PAGES) {
    pages.push(await fetchPage(pages.at(-1)?.pagination.nextCursor ?? null));
  }
  const lowest = lowestKey(order, pages);
  const isDeeper = watched !== undefined && lowest !== undefined && watched < lowest;
  const mark = isDeeper ? held()?.marks.findLast((mark) => mark.below > watched) : undefined;
  const deeper = mark ? await fetchPage(mark.cursor) : undefined;
  // What is held may have changed while pages were on their way: merge into what is there now.
  const list = mergeHead(order, held(), pages);
  return mark && deeper ? mergeBelow(order, list, mark.below, deeper) : list;
}

/** Adds the page after the last item. */
export function append<T>(order: Order<T>, held: PagedList<T>, cursor: string, page: Page<T>): PagedList<T> {
  if (held.next !== cursor) return held;
  const ids = new Set(held.items.map(order.id));
  const last = held.items.at(-1);
  return {
    items: [...held.items, ...page.items.filter((item) => !ids.has(order.id(item)))],
    next: page.pagination.nextCursor,
    marks: last ? [...held.marks, { cursor, below: order.key(last) }] : held.marks,
  };
}

/** Puts one item in its place, or a newer version in place of the one that is there. */
export function upsert<T>(order: Order<T>, held: PagedList<T>, item: T): PagedList<T> {
  const others = held.items.filter((other) => order.id(other) !== order.id(item));
  const before = held.items.find((other) => order.id(other) === order.id(item));
  if (before && order.isNewer(before, item)) return held;
  return { ...held, items: sorted(order, [...others, item]) };
}

/** Whether pages from the head on reach what is held, or the end, or (where nothing is held) have something to show. */
function meets<T>(order: Order<T>, held: PagedList<T> | undefined, pages: Page<T>[]): boolean {
  if (pages.at(-1)?.pagination.nextCursor === null) return true;
  const lowest = lowestKey(order, pages);
  const newest = held?.items[0];
  if (newest === undefined) return lowest !== undefined;
  return lowest !== undefined && lowest <= order.key(newest);
}

function lowestKey<T>(order: Order<T>, pages: Page<T>[]): string | undefined {
  const last = pages.flatMap((page) => page.items).at(-1);
  return last === undefined ? undefined : order.key(last);
}

function mergeHead<T>(order: Order<T>, held: PagedList<T> | undefined, pages: Page<T>[]): PagedList<T> {
  const fetched = pages.flatMap((page) => page.items);
  const next = pages.at(-1)?.pagination.nextCursor ?? null;
  if (held === undefined || !meets(order, held, pages) || held.items.length === 0) {
    return { items: sorted(order, fetched), next, marks: marksOf(order, pages) };
  }
  const list = merge(order, held, fetched, undefined, next === null ? undefined : lowestKey(order, pages));
  return next === null && list.next !== null ? { ...list, next: null } : list;
}

function mergeBelow<T>(order: Order<T>, held: PagedList<T>, below: string, page: Page<T>): PagedList<T> {
  const lowest = page.pagination.nextCursor === null ? undefined : lowestKey(order, [page]);
  const isBlank = page.pagination.nextCursor !== null && lowest === undefined;
  return isBlank ? held : merge(order, held, page.items, below, lowest);
}

/** Replaces what lies between two keys (`below`, exclusive, and `lowest`) by what was fetched of it. */
function merge<T>(
  order: Order<T>,
  held: PagedList<T>,
  fetched: T[],
  below: string | undefined,
  lowest: string | undefined,
): PagedList<T> {
  const before = new Map(held.items.map((item) => [order.id(item), item]));
  const current = fetched.map((item) => {
    const known = before.get(order.id(item));
    return known !== undefined && (order.isNewer(known, item) || isSame(known, item)) ? known : item;
  });
  const ids = new Set(current.map(order.id));
  const isCovered = (item: T) =>
    (below === undefined || order.key(item) < below) && (lowest === undefined || order.key(item) >= lowest);
  const kept = held.items.filter((item) => !ids.has(order.id(item)) && !(isCovered(item) && order.leaves(item)));
  const items = sorted(order, [...current, ...kept]);
  const isUnchanged = items.length === held.items.length && items.every((item, index) => item === held.items[index]);
  return isUnchanged ? held : { ...held, items };
}

function marksOf<T>(order: Order<T>, pages: Page<T>[]): PagedList<T>["marks"] {
  return pages.flatMap((page, index) => {
    const below = lowestKey(order, pages.slice(0, index + 1));
    const cursor = page.pagination.nextCursor;
    return cursor !== null && below !== undefined && index < pages.length - 1 ? [{ cursor, below }] : [];
  });
}

function sorted<T>(order: Order<T>, items: T[]): T[] {
  return items.sort((a, b) => (order.key(a) < order.key(b) ? 1 : order.key(a) > order.key(b) ? -1 : 0));
}

function isSame<T>(a: T, b: T): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
