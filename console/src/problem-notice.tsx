import { useQueryClient } from "@tanstack/react-query";
import { TriangleAlert, X } from "lucide-react";
import { useEffect, useState } from "react";
import { Link } from "react-router";
import { announce } from "./announcer";
import type { Conversation } from "./api";
import { useConsole } from "./console-context";
import { nameOf } from "./conversations/conversation-row";
import { refreshProblems, useProblemCount, useProblems } from "./conversations/queries";
import { withoutOverrides } from "./plain-text";
import { text } from "./text";

/** What of the problems is news. */
export interface News {
  /** Which problems have been told; null until it is known what there is. */
  told: ReadonlySet<string> | null;
  /** The conversations with a problem that nobody has looked at here. */
  unseen: ReadonlySet<string>;
  /** What has to be told now. */
  latest: Conversation[];
}

export const NO_NEWS: News = { told: null, unseen: new Set(), latest: [] };

/** What was there when the page was opened is no news, nor is what the conversation that is `open` shows itself. */
export function advance(news: News, problems: Conversation[], open: string | undefined): News {
  // What is not known yet settles within two minutes, one way or the other.
  const settled = problems.filter(({ problem }) => problem && problem.kind !== "unknown");
  if (news.told === null) return { ...news, told: new Set(settled.map(keyOf)) };
  const latest = settled.filter((conversation) => !news.told?.has(keyOf(conversation)));
  const isOpened = open !== undefined && news.unseen.has(open);
  if (latest.length === 0 && !isOpened) return news;
  const unseen = new Set([...news.unseen, ...latest.map(({ id }) => id)]);
  if (open !== undefined) unseen.delete(open);
  return latest.length === 0
    ? { ...news, unseen }
    : { told: new Set([...news.told, ...latest.map(keyOf)]), unseen, latest };
}

function keyOf({ problem }: Conversation): string {
  return problem ? `${problem.messageId}:${problem.kind}` : "";
}

/** The conversations in which a message failed, or was not confirmed, since this page was opened, until they are looked at. */
export function useProblemNews(inbox: Conversation[] | undefined, open: string | undefined) {
  const { outbox } = useConsole();
  const queries = useQueryClient();
  const problems = useProblems().data?.items;
  const count = useProblemCount();
  const [news, setNews] = useState(NO_NEWS);
  const advanced = problems ? advance(news, problems, open) : news;
  if (advanced !== news) setNews(advanced);
  // All of them are asked for again as soon as the head of the inbox, which is polled, or their number tells of a change.
  const listed = inbox?.map(keyOf).join(" ");
  useEffect(() => refreshProblems(queries), [queries, count, listed]);
  const { latest } = news;
  useEffect(() => {
    for (const { customer, problem } of latest) {
      // What was refused at once has been told as that.
      if (!problem || problem.kind === "unknown" || outbox.told.has(problem.messageId)) continue;
      announce(text.announce.problem[problem.kind](withoutOverrides(nameOf(customer))));
    }
  }, [latest, outbox]);
  return {
    conversations: problems?.filter(({ id, problem }) => problem && news.unseen.has(id)) ?? [],
    clear: () => setNews({ ...news, unseen: new Set() }),
  };
}

interface Props {
  /** The newest first. */
  conversations: Conversation[];
  /** What is listed, as the end of an address: following the notice leaves it. */
  search: string;
  onClose: () => void;
}

/** Tells quietly, on any page, of what failed elsewhere, and leads there. */
export function ProblemNotice({ conversations: [newest, ...others], search, onClose }: Props) {
  if (!newest?.problem || newest.problem.kind === "unknown") return null;
  const name = withoutOverrides(nameOf(newest.customer));
  return (
    <aside className="problem-notice" aria-label={text.nav.view.problems}>
      <TriangleAlert aria-hidden />
      <p>
        <Link to={`/conversations/${newest.id}${search}`} state={{ compose: true }}>
          {text.announce.problem[newest.problem.kind](name)}
        </Link>
        {others.length > 0 && (
          <>
            {" "}
            <Link to="/conversations?problem=true">{text.list.moreProblems(others.length)}</Link>
          </>
        )}
      </p>
      <button type="button" className="icon-button" aria-label={text.list.closeNotice} onClick={onClose}>
        <X aria-hidden />
      </button>
    </aside>
  );
}
