import { Clock, SendHorizontal, StickyNote, TriangleAlert, X } from "lucide-react";
import type { KeyboardEvent } from "react";
import { Link } from "react-router";
import type { Conversation, Message } from "../api";
import { channelOf } from "../channel-icon";
import { useConsole } from "../console-context";
import { EMPTY_DRAFT, type Draft } from "../drafts";
import { Foreign, withoutOverrides } from "../plain-text";
import { useIntegrations } from "../settings/queries";
import { text } from "../text";
import { duration, exactTime, useNow } from "../time";
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
  const reply = useReplying(conversation);
  const isNote = draft.isNote || !reply.isPossible;
  const limit = textLimit(channelOf(conversation), isNote);
  const left = textLeft(draft.text, limit);
  const isSendable = draft.text.trim() !== "" && left >= 0;
  const replyTo = isNote ? null : draft.replyTo;

  const send = () => {
    if (!isSendable) return;
    outbox.send({
      conversationId: conversation.id,
      text: draft.text,
      type: isNote ? "internal_note" : "message",
      replyTo,
    });
    onChange({ ...EMPTY_DRAFT, isNote: draft.isNote && reply.isPossible });
    ref.current?.focus();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    // While an input method composes a character, Enter belongs to it.
    if (event.key === "Enter" && !event.shiftKey && !event.nativeEvent.isComposing) {
      event.preventDefault();
      send();
    } else if (event.key === "Escape" && replyTo) {
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
      {!(draft.isNote && reply.isPossible) && reply.notice}
      {replyTo && (
        <ReplyingTo
          message={messages.find((message) => message.id === replyTo)}
          onCancel={() => onChange({ ...draft, replyTo: null })}
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
        // What was begun as a note stays one, even if the customer can be written to before it is finished.
        onChange={(event) => onChange({ ...draft, text: event.target.value, isNote })}
        onKeyDown={onKeyDown}
      />
      <div className="composer-foot">
        <button
          type="button"
          className="button note-toggle"
          aria-pressed={isNote}
          disabled={!reply.isPossible}
          title={text.composer.noteTitle}
          onClick={() => {
            onChange({ ...draft, isNote: !draft.isNote });
            ref.current?.focus();
          }}
        >
          <StickyNote aria-hidden /> {text.composer.note}
        </button>
        <span className="composer-hint" id="composer-hint">
          {isNearLimit(left, limit) ? (
            <span className={left < 0 ? "failure" : undefined} role="status">
              {text.composer.left(left, limit.unit)}
            </span>
          ) : (
            text.composer.hint
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

function ReplyingTo({ message, onCancel }: { message: Message | undefined; onCancel: () => void }) {
  return (
    <div className="replying-to">
      <p>
        <strong>{text.composer.replyingTo}</strong>{" "}
        <Foreign>{message ? summaryOf(message) : text.thread.earlier}</Foreign>
      </p>
      <button type="button" className="icon-button" aria-label={text.composer.cancelReply} onClick={onCancel}>
        <X aria-hidden />
      </button>
    </div>
  );
}

/** Whether the customer can be written to now; the notice says for how long, or why not and what can be done. */
function useReplying(conversation: Conversation): { isPossible: boolean; notice: React.ReactNode } {
  const { identity } = useConsole();
  const integrations = useIntegrations();
  const now = useNow();
  const { platform } = conversation.metadata;
  const { closesAt } = conversation.window;
  if (!platform) {
    const { title, why } = text.composer.notSendable;
    return { isPossible: false, notice: <Notice title={title}>{why}</Notice> };
  }
  const leftMs = closesAt ? Date.parse(closesAt) - now : 0;
  // The clock of this machine may be wrong; the server's word counts until the next one.
  if (!conversation.window.open || leftMs <= 0) {
    const { title, why, never, template, wait } = text.composer.windowClosed;
    const name = text.platform[platform];
    return {
      isPossible: false,
      notice: (
        <Notice title={title}>
          {closesAt ? why(name, exactTime(closesAt)) : never(name)}{" "}
          {conversation.window.allowed.includes("template") || platform === "whatsapp" ? template : wait}
        </Notice>
      ),
    };
  }
  const integration = integrations.data?.find((integration) => integration.platform === platform);
  if (integrations.data && integration?.status !== "connected") {
    const { title, why, admin, operator } = text.composer.notConnected;
    return {
      // Only a hint: whether it can be sent is the server's to say.
      isPossible: true,
      notice: (
        <Notice title={title(text.platform[platform])}>
          {why} {identity.role === "admin" ? <Link to="/settings/socials">{admin}</Link> : operator}
        </Notice>
      ),
    };
  }
  return {
    isPossible: true,
    notice: (
      <p className="window" title={closesAt ? exactTime(closesAt) : undefined}>
        <Clock aria-hidden /> {text.composer.windowOpen(duration(leftMs))}
      </p>
    ),
  };
}

function Notice({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <div className="notice warning">
      <TriangleAlert aria-hidden />
      <p>
        <strong>{title}.</strong> {children}
      </p>
    </div>
  );
}
