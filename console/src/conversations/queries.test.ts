import { expect, it } from "vitest";
import type { Message } from "../api";
import { sync } from "../paged-list";
import { conversation, message } from "../testing/examples";
import { byProblem, byTime } from "./queries";

const page = (items: Message[]) =>
  Promise.resolve({ items, pagination: { limit: 20, hasNext: false, nextCursor: null } });

it("shows messages of one second in the order of their arrival, whatever their ids", async () => {
  const hello = message({ id: "1795427900000-ffff", text: "Hello", receivedAt: "2026-11-23T09:58:20.310Z" });
  const photo = message({ id: "1795427900000-0000", text: "Photo", receivedAt: "2026-11-23T09:58:20.480Z" });

  const first = await sync(
    byTime,
    () => undefined,
    () => page([hello]),
  );
  const both = await sync(
    byTime,
    () => first,
    () => page([photo, hello]),
  );

  expect(both.items).toEqual([photo, hello]);
});

it("leaves messages that arrived together as the API gives them", async () => {
  const album = ["b", "a", "c"].map((name) => message({ id: `1795427900000-${name}`, text: name }));

  const list = await sync(
    byTime,
    () => undefined,
    () => page(album),
  );
  const again = await sync(
    byTime,
    () => list,
    () => page(album),
  );

  expect(again.items.map((item) => item.text)).toEqual(["b", "a", "c"]);
});

it("a problem stands where its message does, not where the newest message of its conversation does", () => {
  const at = "2026-11-23T10:00:00.000Z";
  const problem = { kind: "failed", messageId: "1795428000500-89ab", code: "131026", at } as const;
  const { lastMessage } = conversation();
  const answeredSince = conversation({ problem, lastMessage: { ...lastMessage, id: "1795428099999-0123" } });

  expect(byProblem.key(answeredSince)).toBe("1795428000500-89ab");
  expect(byProblem.key(conversation())).toBe(lastMessage.id);
});
