import type { Identity } from "./session";

/** What an operator has begun to write in one conversation. */
export interface Draft {
  text: string;
  isNote: boolean;
  /** The id of the message that it answers. */
  replyTo: string | null;
}

export const EMPTY_DRAFT: Draft = { text: "", isNote: false, replyTo: null };

function storageKey(identity: Identity, conversationId: string): string {
  return `draft:${identity.organization}:${identity.user}:${conversationId}`;
}

export function readDraft(identity: Identity, conversationId: string): Draft {
  const stored = window.sessionStorage.getItem(storageKey(identity, conversationId));
  return stored ? (JSON.parse(stored) as Draft) : EMPTY_DRAFT;
}

export function writeDraft(identity: Identity, conversationId: string, draft: Draft): void {
  const key = storageKey(identity, conversationId);
  if (draft.text || draft.isNote || draft.replyTo) window.sessionStorage.setItem(key, JSON.stringify(draft));
  else window.sessionStorage.removeItem(key);
}
