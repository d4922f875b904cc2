import { useQueryClient } from "@tanstack/react-query";
import type { MouseEvent } from "react";
import { Link } from "react-router";
import { explain, type Conversation, type Integration, type Message, type UpdateConversation } from "../api";
import { useConsole } from "../console-context";
import { withoutOverrides } from "../plain-text";
import { text } from "../text";
import { useNow } from "../time";
import { nextStep, wasTaken } from "./next-step";
import { refreshThread, useUpdateConversation } from "./queries";

interface Props {
  message: Message;
  conversation: Conversation;
  integration: Integration | undefined;
  /** The message that it was sent again as. */
  resentAs: string | null;
  /** It is being sent again. */
  isResending: boolean;
  onSendAgain: (message: Message) => void;
  onEdit: (message: Message) => void;
  onShow: (id: string) => void;
}

/** What became of a message that failed, or perhaps did not arrive: a sentence, the one thing to do, and the provider's words. */
export function Undelivered(props: Props) {
  const { message, conversation, integration, resentAs, isResending, onSendAgain, onEdit, onShow } = props;
  const { identity } = useConsole();
  const queries = useQueryClient();
  const update = useUpdateConversation(conversation.id);
  const now = useNow();
  const { status, error } = message;
  const { thread } = text;
  const step = nextStep(message, conversation, integration, now);
  const isSettled = resentAs !== null || isResending;
  /** The button goes; the focus stays among the messages. */
  const change = (changes: UpdateConversation, { currentTarget }: MouseEvent) => {
    const messages = currentTarget.closest<HTMLElement>("[role=region]");
    void update
      .mutateAsync(changes)
      .then(() => messages?.focus({ preventScroll: true }))
      .catch(() => undefined)
      .then(() => refreshThread(queries, conversation.id));
  };
  return (
    <div className="undelivered">
      {status === "failed" && (
        <p className="failure">
          <strong>{wasTaken(message) ? thread.notDelivered : thread.notSent}</strong>{" "}
          {error?.message ?? thread.failedWithoutReason}
        </p>
      )}
      {status === "unknown" && <p className="unknown">{thread.unknownHint}</p>}
      {status === "unconfirmed" && <p className="unknown">{thread.unconfirmedHint}</p>}
      {status === "failed" && !isSettled && step in thread.wait && (
        <p className="next-step">
          {thread.wait[step as keyof typeof thread.wait](identity.role === "admin")}{" "}
          {(step === "connection" || step === "account") && identity.role === "admin" && (
            <Link to="/settings/socials">{thread.toSocials}</Link>
          )}
        </p>
      )}
      {error && (
        <p className="provider-words">
          {thread.providerSays(withoutOverrides(error.title), codeOf(error), error.details)}
        </p>
      )}
      {resentAs !== null ? (
        <p className="outgoing-actions">
          <button type="button" className="button" onClick={() => onShow(resentAs)}>
            {thread.sentAgain}
          </button>
        </p>
      ) : isResending ? (
        <p className="next-step" role="status">
          {thread.sendingAgain}
        </p>
      ) : (
        <p className="outgoing-actions">
          {status === "failed" && step === "sendAgain" && message.text && (
            <button type="button" className="button" onClick={() => onSendAgain(message)}>
              {thread.sendAgain}
            </button>
          )}
          {status === "failed" && step === "edit" && (
            <button type="button" className="button" onClick={() => onEdit(message)}>
              {thread.editAndSendAgain}
            </button>
          )}
          {status === "unconfirmed" && (
            <>
              {step === "sendAgain" && message.text && (
                <button type="button" className="button" onClick={() => onSendAgain(message)}>
                  {thread.sendAgainTwice}
                </button>
              )}
              <button
                type="button"
                className="button"
                onClick={(event) => change({ assumeDelivered: message.id }, event)}
              >
                {thread.itArrived}
              </button>
            </>
          )}
          {status === "failed" && conversation.problem && (
            <button
              type="button"
              className="button"
              title={thread.dismissTitle}
              onClick={(event) => change({ problem: null }, event)}
            >
              {text.list.dismiss}
            </button>
          )}
        </p>
      )}
      {update.isError && (
        <p className="failure" role="alert">
          {explain(update.error)}
        </p>
      )}
    </div>
  );
}

function codeOf({ code, subcode }: NonNullable<Message["error"]>): string {
  return subcode ? `${code}/${subcode}` : code;
}
