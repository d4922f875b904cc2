import { Reply, StickyNote } from "lucide-react";
import { memo } from "react";
import type { Conversation, Integration, Message } from "../api";
import { Foreign, PlainText, withoutOverrides } from "../plain-text";
import { text } from "../text";
import { clockTime, exactTime } from "../time";
import { nameOf } from "./conversation-row";
import { DeliveryStatus } from "./delivery-status";
import { MessageContent, summaryOf } from "./message-content";
import { Undelivered } from "./undelivered";

interface Props {
  message: Message;
  conversation: Conversation;
  /** The message that it answers, where it is loaded. */
  quoted: Message | undefined;
  me: string;
  integration: Integration | undefined;
  /** The message that it was sent again as. */
  resentAs: string | null;
  /** It is being sent again. */
  isResending: boolean;
  onReply: (message: Message) => void;
  onSendAgain: (message: Message) => void;
  /** Takes the text into the composer, to be sent again from there. */
  onEdit: (message: Message) => void;
  onShow: (id: string) => void;
}

const UNDELIVERED = new Set<Message["status"]>(["failed", "unknown", "unconfirmed"]);

export const MessageBubble = memo(function MessageBubble(props: Props) {
  const { message, conversation, quoted, me, onReply, onShow } = props;
  const isNote = message.type === "internal_note";
  const side = message.contentType === "system" ? "system" : message.direction;
  // What the provider has not taken, or perhaps not, the customer's phone cannot quote.
  const isTaken =
    message.status === null || !["sending", "unknown", "unconfirmed", "assumed", "failed"].includes(message.status);
  const canReply =
    conversation.metadata.platform !== null && !isNote && !message.deletedAt && side !== "system" && isTaken;
  return (
    <article className="message" data-side={side} data-note={isNote} aria-label={labelOf(message, conversation, me)}>
      <div className="bubble">
        {isNote && (
          <p className="note-label">
            <StickyNote aria-hidden /> {text.thread.note} · {text.thread.noteHint}
          </p>
        )}
        {message.direction === "outbound" && <p className="author">{text.thread.by(message, me)}</p>}
        {message.replyTo && !message.deletedAt && (
          <Quote quoted={quoted} conversation={conversation} me={me} onShow={onShow} />
        )}
        {message.deletedAt ? (
          <p className="unsent">{text.thread.unsent}</p>
        ) : (
          <>
            <MessageContent message={message} platform={conversation.metadata.platform} />
            {message.text && message.contentType !== "system" && <PlainText>{message.text}</PlainText>}
          </>
        )}
        <p className="message-foot">
          {message.content.forwarded && <span>{text.thread.forwarded}</span>}
          {message.editedAt && !message.deletedAt && (
            <span title={exactTime(message.editedAt)}>{text.thread.edited}</span>
          )}
          <time dateTime={message.timestamp} title={exactTime(message.timestamp)}>
            {clockTime(message.timestamp)}
          </time>
          {message.status && <DeliveryStatus message={message} />}
        </p>
        {message.status === "assumed" && message.assumed && (
          <p className="provider-words">{text.thread.assumedBy(message.assumed.by, me)}</p>
        )}
        {message.status && UNDELIVERED.has(message.status) && <Undelivered {...props} />}
        {message.reactions.length > 0 && (
          <ul className="reactions">
            {message.reactions.map((reaction) => (
              <li key={`${reaction.by} ${reaction.emoji}`} title={text.thread.reaction(reaction.by)}>
                <Foreign>{reaction.emoji}</Foreign>
                <span className="visually-hidden">{text.thread.reaction(reaction.by)}</span>
              </li>
            ))}
          </ul>
        )}
      </div>
      {canReply && (
        <button
          type="button"
          className="icon-button reply-button"
          aria-label={text.thread.reply}
          title={text.thread.reply}
          onClick={() => onReply(message)}
        >
          <Reply aria-hidden />
        </button>
      )}
    </article>
  );
});

function labelOf(message: Message, conversation: Conversation, me: string): string {
  const isCustomer = message.sender === "customer";
  const who = isCustomer ? withoutOverrides(nameOf(conversation.customer)) : text.thread.by(message, me);
  return `${message.type === "internal_note" ? `${text.thread.note}, ` : ""}${who}, ${clockTime(message.timestamp)}`;
}

interface QuoteProps {
  quoted: Message | undefined;
  conversation: Conversation;
  me: string;
  onShow: (id: string) => void;
}

function Quote({ quoted, conversation, me, onShow }: QuoteProps) {
  if (!quoted) return <p className="quote">{text.thread.earlier}</p>;
  const by = quoted.sender === "customer" ? nameOf(conversation.customer) : text.thread.by(quoted, me);
  return (
    <button type="button" className="quote" onClick={() => onShow(quoted.id)}>
      <strong>
        <Foreign>{by}</Foreign>
      </strong>
      <Foreign>{summaryOf(quoted)}</Foreign>
    </button>
  );
}
