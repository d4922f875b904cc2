import { describe, expect, it } from "vitest";
import type { Conversation } from "./api";
import { advance, NO_NEWS } from "./problem-notice";
import { conversation } from "./testing/examples";

type Kind = NonNullable<Conversation["problem"]>["kind"];

function troubled(id: string, kind: Kind = "failed", messageId = `message-of-${id}`): Conversation {
  return conversation({ id, problem: { kind, messageId, code: null, at: "2026-11-23T10:00:00.000Z" } });
}

const ids = (conversations: Conversation[]) => conversations.map(({ id }) => id);

describe("what is told of problems", () => {
  const [ada, grace] = [troubled("ada"), troubled("grace")];
  const opened = advance(NO_NEWS, [ada], undefined);

  it("is not what was there when the page was opened", () => {
    expect(opened.latest).toEqual([]);
    expect(advance(opened, [ada], undefined)).toBe(opened);
  });

  it("is what comes since, once", () => {
    const news = advance(opened, [grace, ada], undefined);

    expect(ids(news.latest)).toEqual(["grace"]);
    expect([...news.unseen]).toEqual(["grace"]);
    expect(advance(news, [grace, ada], undefined)).toBe(news);
  });

  it("is another message of the same conversation, and one that failed after all", () => {
    expect(ids(advance(opened, [troubled("ada", "failed", "another")], undefined).latest)).toEqual(["ada"]);

    const unconfirmed = advance(NO_NEWS, [troubled("ada", "unconfirmed")], undefined);
    expect(ids(advance(unconfirmed, [ada], undefined).latest)).toEqual(["ada"]);
  });

  it("is nothing that is not known yet", () => {
    expect(advance(opened, [troubled("grace", "unknown"), ada], undefined).latest).toEqual([]);
  });

  it("is seen in the conversation that is open, then or later", () => {
    const news = advance(opened, [grace, ada], "grace");
    expect(ids(news.latest)).toEqual(["grace"]);
    expect(news.unseen.size).toBe(0);

    const elsewhere = advance(opened, [grace, ada], "ada");
    expect(advance(elsewhere, [grace, ada], "grace").unseen.size).toBe(0);
  });
});
