import { Clock3, StickyNote } from "lucide-react";
import { useConsole } from "../console-context";
import type { Outgoing } from "../outbox";
import { PlainText } from "../plain-text";
import { text } from "../text";
import { clockTime } from "../time";

/** A message that the server has not answered for yet, or has refused. */
export function OutgoingBubble({ entry, onEdit }: { entry: Outgoing; onEdit: (entry: Outgoing) => void }) {
  const { outbox } = useConsole();
  const isNote = entry.type === "internal_note";
  const { state, problem } = entry;
  return (
    <article className="message" data-side="outbound" data-note={isNote} data-outgoing={state}>
      <div className="bubble">
        {isNote && (
          <p className="note-label">
            <StickyNote aria-hidden /> {text.thread.note} · {text.thread.noteHint}
          </p>
        )}
        <PlainText>{entry.text}</PlainText>
        <p className="message-foot">
          <time>{clockTime(entry.createdAt)}</time>
          {state === "sending" && (
            <span className="delivery" data-status="sending">
              <Clock3 aria-hidden /> {problem ? text.outgoing.trying : text.thread.status.sending}
            </span>
          )}
        </p>
        {state === "unanswered" && (
          <p className="unknown">{entry.hasLeft ? text.outgoing.unanswered : text.outgoing.offline}</p>
        )}
        {state === "expired" && <p className="unknown">{text.outgoing.expired}</p>}
        {state === "refused" && <p className="failure">{text.outgoing.refused(problem ?? "")}</p>}
        {state !== "sending" && (
          <p className="outgoing-actions">
            {state === "unanswered" && entry.hasLeft ? (
              <button type="button" className="button" onClick={() => outbox.retry(entry.key)}>
                {text.tryAgain}
              </button>
            ) : (
              <>
                <button type="button" className="button" onClick={() => onEdit(entry)}>
                  {text.outgoing.edit}
                </button>
                <button type="button" className="button" onClick={() => outbox.discard(entry.key)}>
                  {text.outgoing.discard}
                </button>
              </>
            )}
          </p>
        )}
      </div>
    </article>
  );
}
