import { describe, expect, it } from "vitest";
import type { Page } from "./api";
import { append, sync, upsert, type Order, type PagedList } from "./paged-list";

interface Item {
  id: string;
  at: number;
  version: number;
}

const order: Order<Item> = {
  id: (item) => item.id,
  key: (item) => String(item.at).padStart(6, "0"),
  isNewer: (held, fetched) => held.version > fetched.version,
  leaves: () => true,
};

/** A list on a server, that changes between two requests. */
class Server {
  items: Item[] = [];
  requests: (string | null)[] = [];

  constructor(
    count: number,
    private readonly limit: number,
  ) {
    for (let at = 1; at <= count; at++) this.arrive(`item-${at}`, at);
  }

  arrive(id: string, at: number): void {
    const version = (this.items.find((item) => item.id === id)?.version ?? 0) + 1;
    this.items = [{ id, at, version }, ...this.items.filter((item) => item.id !== id)].sort((a, b) => b.at - a.at);
  }

  page = async (cursor: string | null): Promise<Page<Item>> => {
    await new Promise((resolve) => setTimeout(resolve));
    this.requests.push(cursor);
    const below = this.items.filter((item) => cursor === null || item.at < Number(cursor));
    const items = below.slice(0, this.limit);
    const last = items.at(-1);
    const nextCursor = below.length > this.limit && last ? String(last.at) : null;
    return { items, pagination: { limit: this.limit, hasNext: nextCursor !== null, nextCursor } };
  };
}

/** What a tab holds, as it asks again and scrolls. */
class Tab {
  list: PagedList<Item> | undefined;

  constructor(private readonly server: Server) {}

  async refresh(watched?: number): Promise<void> {
    const key = watched === undefined ? undefined : String(watched).padStart(6, "0");
    this.list = await sync(order, () => this.list, this.server.page, key);
  }

  async more(): Promise<void> {
    if (!this.list?.next) return;
    const { next } = this.list;
    const page = await this.server.page(next);
    this.list = append(order, this.list, next, page);
  }

  ids(): string[] {
    return this.list?.items.map((item) => item.id) ?? [];
  }
}

describe("a list that is loaded in pages while it changes", () => {
  it("shows everything once, though an item moves to the top between two pages", async () => {
    const server = new Server(25, 10);
    const tab = new Tab(server);

    await tab.refresh();
    server.arrive("item-12", 26);
    await tab.more();
    await tab.more();
    await tab.refresh();

    expect(tab.ids()).toEqual(server.items.map((item) => item.id));
    expect(tab.list?.next).toBeNull();
  });

  it("keeps fetching until it meets what is loaded, so that nothing is missing after a long absence", async () => {
    const server = new Server(10, 10);
    const tab = new Tab(server);
    await tab.refresh();

    for (let at = 11; at <= 45; at++) server.arrive(`item-${at}`, at);
    await tab.refresh();

    expect(tab.ids()).toEqual(server.items.map((item) => item.id));
  });

  it("starts again from the head when more has arrived than can be caught up with", async () => {
    const server = new Server(10, 10);
    const tab = new Tab(server);
    await tab.refresh();

    for (let at = 11; at <= 400; at++) server.arrive(`item-${at}`, at);
    await tab.refresh();
    while (tab.list?.next) await tab.more();

    expect(tab.ids()).toEqual(server.items.map((item) => item.id));
  });

  it("drops what has left the list, within what was fetched", async () => {
    const server = new Server(25, 10);
    const tab = new Tab(server);
    await tab.refresh();
    await tab.more();

    server.items = server.items.filter((item) => item.id !== "item-20" && item.id !== "item-12");
    await tab.refresh();
    expect(tab.ids()).not.toContain("item-20");
    expect(tab.ids()).toContain("item-12");

    await tab.refresh(12);
    expect(tab.ids()).not.toContain("item-12");
    expect(tab.ids()).toContain("item-11");
  });

  it("refreshes the page that is on screen, and only that one besides the head", async () => {
    const server = new Server(40, 10);
    const tab = new Tab(server);
    await tab.refresh();
    await tab.more();
    await tab.more();
    server.items = server.items.map((item) => (item.id === "item-15" ? { ...item, version: 2 } : item));
    server.requests = [];

    await tab.refresh(15);

    expect(tab.list?.items.find((item) => item.id === "item-15")?.version).toBe(2);
    expect(server.requests).toEqual([null, "21"]);
  });

  it("keeps a newer version that is held, since an index may lag behind", async () => {
    const server = new Server(5, 10);
    const tab = new Tab(server);
    await tab.refresh();
    if (tab.list) tab.list = upsert(order, tab.list, { id: "item-3", at: 3, version: 9 });

    await tab.refresh();

    expect(tab.list?.items.find((item) => item.id === "item-3")?.version).toBe(9);
  });

  it("is the very same list when nothing has changed, so that nothing is drawn again", async () => {
    const server = new Server(25, 10);
    const tab = new Tab(server);
    await tab.refresh();
    await tab.more();
    const before = tab.list;

    await tab.refresh();

    expect(tab.list).toBe(before);
  });

  it("keeps what was loaded while the head was on its way", async () => {
    const server = new Server(30, 10);
    const tab = new Tab(server);
    await tab.refresh();

    const refreshing = tab.refresh();
    await tab.more();
    await refreshing;

    expect(tab.ids()).toHaveLength(20);
  });

  it("ignores a page that comes after the list has started again", async () => {
    const server = new Server(30, 10);
    const tab = new Tab(server);
    await tab.refresh();
    const list = tab.list as PagedList<Item>;

    expect(append(order, list, "another cursor", await server.page("21"))).toBe(list);
  });

  it("looks past blank pages, which a filter that matches little gives", async () => {
    const blank = (nextCursor: string | null): Page<Item> => ({
      items: [],
      pagination: { limit: 10, hasNext: nextCursor !== null, nextCursor },
    });
    const found = { id: "found", at: 1, version: 1 };
    const pages = new Map<string | null, Page<Item>>([
      [null, blank("a")],
      ["a", blank("b")],
      ["b", { ...blank(null), items: [found] }],
    ]);

    const list = await sync(
      order,
      () => undefined,
      (cursor) => Promise.resolve(pages.get(cursor) ?? blank(null)),
    );

    expect(list.items).toEqual([found]);
  });
});
