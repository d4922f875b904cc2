import { ArrowLeft, Clock3, X } from "lucide-react";
import { useId, useState, useSyncExternalStore, type ReactNode } from "react";
import type { Conversation, UpdateConversation } from "../api";
import type { ChangeRequest } from "../changes";
import { channelOf } from "../channel-icon";
import { useConsole } from "../console-context";
import { isEscape } from "../keyboard";
import { phoneNumber } from "../phone";
import { Foreign } from "../plain-text";
import { text } from "../text";
import { dateAndTime, exactTime } from "../time";

/** As many labels as a conversation takes, and characters as a label takes. */
const LABELS_MAX = 20;
const LABEL_MAX_CHARACTERS = 50;

interface Props {
  /** With the changes that are on their way. */
  conversation: Conversation;
  onClose: () => void;
  onMarkedUnread: () => void;
}

/** Gives it to somebody, as long as it still belongs to whom it is shown to belong to: a colleague may just have taken it. */
function assignment(to: string | null, shown: string | null): NonNullable<UpdateConversation["assign"]> {
  return shown === null ? { to, ifUnassigned: true } : { to, ifAssignedTo: shown };
}

/** The provider may deliver late what is then the only message: it was written before the conversation was kept. */
function firstSeen({ createdAt, lastMessage }: Conversation): string {
  return Date.parse(lastMessage.timestamp) < Date.parse(createdAt) ? lastMessage.timestamp : createdAt;
}

/** The customer, and what the team does with the conversation. */
export function DetailsPanel({ conversation, onClose, onMarkedUnread }: Props) {
  const { identity, changes } = useConsole();
  const { open, refused } = useSyncExternalStore(changes.subscribe, changes.all);
  const waiting = open.filter(({ conversationId, isWaiting }) => conversationId === conversation.id && isWaiting);
  const { customer, status, assignedTo } = conversation;
  const isOpen = status === "open";
  const change = (request: ChangeRequest) => changes.make(conversation.id, request);
  return (
    <aside
      className="details"
      aria-label={text.details.label}
      onKeyDown={(event) => {
        if (!isEscape(event)) return;
        // Only the panel closes, not the conversation as well.
        event.preventDefault();
        onClose();
      }}
    >
      <header className="pane-header">
        <button type="button" className="icon-button back-button" aria-label={text.details.back} onClick={onClose}>
          <ArrowLeft aria-hidden />
        </button>
        <h2>{text.details.label}</h2>
        <button type="button" className="icon-button close-button" aria-label={text.close} onClick={onClose}>
          <X aria-hidden />
        </button>
      </header>
      <div className="details-body">
        <dl>
          {customer.name && (
            <Fact name={text.details.name}>
              <Foreign>{customer.name}</Foreign>
            </Fact>
          )}
          {customer.username && (
            <Fact name={text.details.username}>
              <Foreign>{`@${customer.username.replace(/^@/, "")}`}</Foreign>
            </Fact>
          )}
          {customer.phone && (
            <Fact name={text.details.phone}>
              <Foreign>{phoneNumber(customer.phone)}</Foreign>
            </Fact>
          )}
          <Fact name={text.details.channel}>{text.nav.channel(channelOf(conversation))}</Fact>
          <Fact name={text.details.firstSeen}>
            <Time timestamp={firstSeen(conversation)} />
          </Fact>
          <Fact name={text.details.lastSeen}>
            <Time timestamp={conversation.lastMessage.timestamp} />
          </Fact>
          <Fact name={text.details.status}>{isOpen ? text.details.open : text.details.closed}</Fact>
          <Fact name={text.details.assignee}>{assignedTo ?? text.details.nobody}</Fact>
        </dl>
        <div className="details-actions">
          <button type="button" className="button" onClick={() => change({ status: isOpen ? "closed" : "open" })}>
            {isOpen ? text.details.closeConversation : text.details.reopenConversation}
          </button>
          {assignedTo !== identity.user && (
            <button type="button" className="button" onClick={() => change({ assign: assignment("me", assignedTo) })}>
              {text.details.assignToMe}
            </button>
          )}
          {assignedTo !== null && (
            <button type="button" className="button" onClick={() => change({ assign: assignment(null, assignedTo) })}>
              {text.details.unassign}
            </button>
          )}
          <button
            type="button"
            className="button"
            onClick={() => {
              change({ read: false });
              onMarkedUnread();
            }}
          >
            {text.details.markUnread}
          </button>
        </div>
        <p role="status" className="waiting">
          {waiting.length > 0 && (
            <>
              <Clock3 aria-hidden /> {text.changes.waiting(waiting.map(({ request }) => text.changes.what(request)))}
            </>
          )}
        </p>
        {refused[conversation.id] && (
          <p className="failure" role="alert">
            {refused[conversation.id]}
          </p>
        )}
        <Labels
          labels={conversation.labels}
          onAdd={(label) => change({ addLabels: [label] })}
          onRemove={(label) => change({ removeLabels: [label] })}
        />
        <dl className="details-id">
          <Fact name={text.details.id}>
            <Foreign>{customer.id}</Foreign>
          </Fact>
        </dl>
      </div>
    </aside>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Time({ timestamp }: { timestamp: string }) {
  return (
    <time dateTime={timestamp} title={exactTime(timestamp)}>
      {dateAndTime(timestamp)}
    </time>
  );
}

interface LabelsProps {
  labels: string[];
  onAdd: (label: string) => void;
  onRemove: (label: string) => void;
}

/** One at a time, so that what a colleague adds or removes meanwhile stays. */
function Labels({ labels, onAdd, onRemove }: LabelsProps) {
  const [added, setAdded] = useState("");
  const heading = useId();
  const isFull = labels.length >= LABELS_MAX;
  const label = added.trim();
  return (
    <section aria-labelledby={heading}>
      <h3 id={heading}>{text.details.labels}</h3>
      {labels.length === 0 && <p className="faint">{text.details.noLabels}</p>}
      <ul className="labels">
        {labels.map((label) => (
          <li key={label} className="chip">
            <Foreign>{label}</Foreign>
            <button type="button" aria-label={text.details.removeLabel(label)} onClick={() => onRemove(label)}>
              <X aria-hidden />
            </button>
          </li>
        ))}
      </ul>
      {isFull ? (
        <p className="faint">{text.details.labelsFull}</p>
      ) : (
        <form
          className="add-label"
          onSubmit={(event) => {
            event.preventDefault();
            if (label && !labels.includes(label)) onAdd(label);
            setAdded("");
          }}
        >
          <input
            value={added}
            maxLength={LABEL_MAX_CHARACTERS}
            aria-label={text.details.newLabel}
            placeholder={text.details.newLabel}
            onChange={(event) => setAdded(event.target.value)}
          />
          <button type="submit" className="button" disabled={!label}>
            {text.details.addLabel}
          </button>
        </form>
      )}
    </section>
  );
}
