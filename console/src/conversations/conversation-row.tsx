import { Check, CircleHelp, Clock3, TriangleAlert } from "lucide-react";
import { Link } from "react-router";
import type { Conversation, Customer } from "../api";
import { ChannelIcon, channelOf } from "../channel-icon";
import type { Outgoing } from "../outbox";
import { Foreign } from "../plain-text";
import { text } from "../text";
import { exactTime, relativeTime, useNow } from "../time";

/** In pixels; the style sheet gives a row the same. */
export const ROW_HEIGHT = 76;

interface Props {
  conversation: Conversation;
  to: string;
  isOpen: boolean;
  isReachable: boolean;
  /** What is being sent in it. */
  sending?: Outgoing | undefined;
  /** Why it no longer belongs into the list, where it still stands. */
  done?: string | undefined;
  onFocus: () => void;
}

export function ConversationRow({ conversation, to, isOpen, isReachable, sending, done, onFocus }: Props) {
  const now = useNow();
  const { lastMessage, unread, unreadCount, customer, status, problem } = conversation;
  const channel = channelOf(conversation);
  const timestamp = sending ? new Date(sending.createdAt).toISOString() : lastMessage.timestamp;
  const sender = sending ? "operator" : lastMessage.sender;
  const prefix = { operator: `${text.list.team}: `, ai: `${text.list.automatic}: `, customer: "", system: "" };
  return (
    <Link
      to={to}
      className="row"
      data-id={conversation.id}
      data-unread={unread}
      aria-current={isOpen ? "true" : undefined}
      tabIndex={isReachable ? 0 : -1}
      onFocus={onFocus}
    >
      <ChannelIcon channel={channel} />
      <span className="row-name">
        <Foreign>{nameOf(customer)}</Foreign>
        <span className="visually-hidden">, {text.nav.channel(channel)}</span>
      </span>
      <time className="row-time" dateTime={timestamp} title={exactTime(timestamp)}>
        {relativeTime(timestamp, now)}
      </time>
      <span className="row-preview">
        {sending && <Clock3 aria-label={text.thread.status.sending} />}
        {prefix[sender]}
        <Foreign>{sending?.text ?? lastMessage.text}</Foreign>
      </span>
      <span className="row-marks">
        {problem && (
          <span className="chip problem-mark" data-problem={problem.kind}>
            {problem.kind === "failed" ? <TriangleAlert aria-hidden /> : <CircleHelp aria-hidden />}{" "}
            {problem.messageId === lastMessage.id
              ? text.list.problem[problem.kind]
              : text.list.earlierProblem[problem.kind]}
          </span>
        )}
        {done !== undefined && (
          <span className="chip done-mark">
            <Check aria-hidden /> {done}
          </span>
        )}
        {status === "closed" && done === undefined && <span className="chip">{text.list.closed}</span>}
        {unread && (
          <span className="badge">
            <span aria-hidden>{unreadCount > 98 ? "99+" : unreadCount}</span>
            <span className="visually-hidden">{text.list.unread(unreadCount)}</span>
          </span>
        )}
      </span>
    </Link>
  );
}

/** What to call a customer. */
export function nameOf(customer: Customer): string {
  return customer.name ?? customer.username ?? customer.phone ?? customer.id;
}
