import { useRef } from "react";
import { useLocation, useNavigate, useParams, useSearchParams } from "react-router";
import { text } from "../text";
import { Empty } from "../ui/states";
import { PageTitle } from "../unread-badge";
import { ConversationList } from "./conversation-list";
import { ConversationPane } from "./conversation-pane";
import { filterOf, searchOf } from "./filter";

/** The inbox: the list, and the conversation that is open. */
export function ConversationsPage() {
  const { conversationId } = useParams();
  const [parameters] = useSearchParams();
  const navigate = useNavigate();
  const { state } = useLocation() as { state: { compose?: boolean } | null };
  const list = useRef<HTMLDivElement>(null);
  const filter = filterOf(parameters);
  const search = searchOf(filter);
  return (
    <div className="conversations" data-pane={conversationId ? "conversation" : "list"}>
      {!conversationId && <PageTitle>{text.list.title}</PageTitle>}
      {/* The list is what the page is about until a conversation is open. */}
      <div className="inbox" role={conversationId ? undefined : "main"}>
        <ConversationList key={search} filter={filter} openId={conversationId} ref={list} />
        {!conversationId && (
          <div className="conversation-pane nothing-chosen">
            <Empty title={text.thread.none}>
              <p>{text.thread.noneHint}</p>
            </Empty>
          </div>
        )}
      </div>
      {conversationId && (
        <ConversationPane
          key={conversationId}
          id={conversationId}
          focusComposer={state?.compose === true}
          onBack={() => {
            void navigate(`/conversations${search}`);
            // The list is only shown after the pane has given room, where there is room for one.
            requestAnimationFrame(() => list.current?.querySelector<HTMLElement>("[tabindex='0']")?.focus());
          }}
        />
      )}
    </div>
  );
}
