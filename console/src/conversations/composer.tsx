import { useQueryClient } from "@tanstack/react-query";
import { Clock, SendHorizontal, StickyNote, TriangleAlert, X } from "lucide-react";
import { useEffect, type KeyboardEvent } from "react";
import { Link } from "react-router";
import type { Conversation, Message } from "../api";
import { channelOf } from "../channel-icon";
import { useConsole } from "../console-context";
import { EMPTY_DRAFT, type Draft } from "../drafts";
import { Foreign, withoutOverrides } from "../plain-text";
import { refreshIntegrations, useIntegrations } from "../settings/queries";
import { text } from "../text";
import { duration, exactTime, useNow } from "../time";
import { isComposing, isEscape, useIsTouch } from "../keyboard";
import { nameOf } from "./conversation-row";
import { summaryOf } from "./message-content";
import { isNearLimit, textLeft, textLimit } from "./text-limit";

interface Props {
  conversation: Conversation;
  messages: Message[];
  draft: Draft;
  onChange: (draft: Draft) => void;
  ref: React.RefObject<HTMLTextAreaElement | null>;
}

export function Composer({ conversation, messages, draft, onChange, ref }: Props) {
  const { outbox } = useConsole();
  const reply = useReplying(conversation, messages);
  const isTouch = useIsTouch();
  // A note only by choice: what was begun as a reply stays one, even when it can no longer be sent.
  const isNote = draft.isNote || reply.state === "never";
  const limit = textLimit(channelOf(conversation), isNote);
  const left = textLeft(draft.text, limit);
  const isWritten = draft.text.trim() !== "";
  const isSendable = isWritten && left >= 0 && (isNote || reply.state === "possible");
  const replyTo = isNote ? null : draft.replyTo;

  const send = () => {
    if (!isSendable) return;
    outbox.send({
      conversationId: conversation.id,
      text: draft.text,
      type: isNote ? "internal_note" : "message",
      replyTo,
      resendOf: isNote ? null : draft.resendOf,
    });
    onChange({ ...EMPTY_DRAFT, isNote: draft.isNote });
    ref.current?.focus();
  };
  const chooseNote = (isNote: boolean) => {
    onChange({ ...draft, isNote });
    ref.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key === "Enter" && !event.shiftKey && !isTouch && !isComposing(event)) {
      event.preventDefault();
      send();
    } else if (isEscape(event) && replyTo) {
      event.preventDefault();
      onChange({ ...draft, replyTo: null });
    }
  };

  return (
    <form
      className="composer"
      data-note={isNote}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      {!(isNote && reply.state === "possible") && reply.notice}
      {reply.state === "stopped" && isWritten && !isNote && (
        <p className="kept-text">
          {text.composer.kept}{" "}
          <button type="button" className="button" onClick={() => chooseNote(true)}>
            <StickyNote aria-hidden /> {text.composer.keepAsNote}
          </button>
        </p>
      )}
      {replyTo && (
        <About
          label={text.composer.replyingTo}
          message={messages.find((message) => message.id === replyTo)}
          cancel={text.composer.cancelReply}
          onCancel={() => onChange({ ...draft, replyTo: null })}
        />
      )}
      {draft.resendOf && !isNote && (
        <About
          label={text.composer.sendingAgain}
          message={messages.find((message) => message.id === draft.resendOf)}
          cancel={text.composer.cancelSendingAgain}
          onCancel={() => onChange({ ...draft, resendOf: null })}
        />
      )}
      {isNote && (
        <p className="note-label">
          <StickyNote aria-hidden /> {text.thread.note} · {text.thread.noteHint}
        </p>
      )}
      <textarea
        ref={ref}
        dir="auto"
        rows={2}
        value={draft.text}
        aria-label={isNote ? text.composer.noteLabel : text.composer.label}
        aria-describedby="composer-hint"
        placeholder={
          isNote
            ? text.composer.notePlaceholder
            : text.composer.placeholder(withoutOverrides(nameOf(conversation.customer)))
        }
        onChange={(event) => onChange({ ...draft, text: event.target.value })}
        onKeyDown={onKeyDown}
      />
      <div className="composer-foot">
        <button
          type="button"
          className="button note-toggle"
          aria-pressed={isNote}
          disabled={reply.state === "never"}
          title={text.composer.noteTitle}
          onClick={() => chooseNote(!draft.isNote)}
        >
          <StickyNote aria-hidden /> {text.composer.note}
        </button>
        <span className="composer-hint" id="composer-hint">
          {isNearLimit(left, limit) ? (
            <span className={left < 0 ? "failure" : undefined} role="status">
              {text.composer.left(left, limit.unit)}
            </span>
          ) : (
            !isTouch && text.composer.hint
          )}
        </span>
        <button type="submit" className="button primary" disabled={!isSendable}>
          {isNote ? <StickyNote aria-hidden /> : <SendHorizontal aria-hidden />}
          {isNote ? text.composer.addNote : text.composer.send}
        </button>
      </div>
    </form>
  );
}

interface AboutProps {
  label: string;
  message: Message | undefined;
  cancel: string;
  onCancel: () => void;
}

/** The message that is answered, or sent again. */
function About({ label, message, cancel, onCancel }: AboutProps) {
  return (
    <div className="replying-to">
      <p>
        <strong>{label}</strong> <Foreign>{message ? summaryOf(message) : text.thread.earlier}</Foreign>
      </p>
      <button type="button" className="icon-button" aria-label={cancel} onClick={onCancel}>
        <X aria-hidden />
      </button>
    </div>
  );
}

/** `never`: what answers here is another system, and a note is all that can be written. `stopped`: nothing can be sent for now. */
type ReplyState = "possible" | "stopped" | "never";

/** So little time is left: amber, then red. */
const SOON_MS = 4 * 60 * 60 * 1000;
const VERY_SOON_MS = 60 * 60 * 1000;

/** What the provider said of the last reply that failed; null once the customer has written or a later reply has gone out. */
function lastFailure(messages: Message[]): Message | null {
  const last = messages.find((message) => message.direction === "inbound" || message.status !== null);
  return last?.status === "failed" ? last : null;
}

/** Whether the customer can be written to now; the notice says for how long, or why not and what can be done. */
function useReplying(conversation: Conversation, messages: Message[]): { state: ReplyState; notice: React.ReactNode } {
  const { identity } = useConsole();
  const queries = useQueryClient();
  const integrations = useIntegrations();
  const now = useNow();
  const failure = lastFailure(messages);
  const failureId = failure?.id;
  useEffect(() => {
    // It may be the account that is to blame.
    if (failureId) refreshIntegrations(queries);
  }, [queries, failureId]);
  const { platform } = conversation.metadata;
  const { closesAt } = conversation.window;
  if (!platform) {
    const { title, why } = text.composer.notSendable;
    return { state: "never", notice: <Notice title={title}>{why}</Notice> };
  }
  const name = text.platform[platform];
  const leftMs = closesAt ? Date.parse(closesAt) - now : 0;
  const isRefusedAsLate = failure?.error?.action === "template";
  // The clock of this machine may be wrong; the server's word counts until the next one, and the provider's more than both.
  if (!conversation.window.open || leftMs <= 0 || isRefusedAsLate) {
    const { title, why, never, refused, template, wait } = text.composer.windowClosed;
    const isOver = !conversation.window.open || leftMs <= 0;
    return {
      state: "stopped",
      notice: (
        <Notice title={title}>
          {!isOver ? refused(name) : closesAt ? why(name, exactTime(closesAt)) : never(name)}{" "}
          {conversation.window.allowed.includes("template") || platform === "whatsapp" ? template : wait}
        </Notice>
      ),
    };
  }
  const integration = integrations.data?.find((integration) => integration.platform === platform);
  // Until the account has been looked at again, the refusal counts.
  const isRefused =
    failure?.error?.action === "reconnect" && !(integration && integration.updatedAt > failure.timestamp);
  if (isRefused || (integrations.data && integration?.status !== "connected")) {
    const { title, why, admin, operator } = text.composer.notConnected;
    return {
      state: "stopped",
      notice: (
        <Notice title={title(name)} isOpen>
          {why} {identity.role === "admin" ? <Link to="/settings/socials">{admin}</Link> : operator}
        </Notice>
      ),
    };
  }
  const urgency = leftMs < VERY_SOON_MS ? "very-soon" : leftMs < SOON_MS ? "soon" : undefined;
  return {
    state: "possible",
    notice: (
      <p className="window" data-ends={urgency} title={closesAt ? exactTime(closesAt) : undefined}>
        <Clock aria-hidden /> {text.composer.windowOpen(duration(leftMs))}
      </p>
    ),
  };
}

/** One line, so that the thread keeps its room; the reasons are for who asks. */
function Notice({ title, isOpen = false, children }: { title: string; isOpen?: boolean; children: React.ReactNode }) {
  return (
    <details className="reply-notice" open={isOpen}>
      <summary>
        <TriangleAlert aria-hidden /> {title}
        <span className="reply-notice-why">{text.composer.why}</span>
      </summary>
      <p>{children}</p>
    </details>
  );
}
