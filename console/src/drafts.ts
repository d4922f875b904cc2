import type { Identity } from "./session";

/** What an operator has begun to write in one conversation. */
export interface Draft {
  text: string;
  isNote: boolean;
  /** The id of the message that it answers. */
  replyTo: string | null;
  /** The id of the message that it sends again. */
  resendOf: string | null;
}

export const EMPTY_DRAFT: Draft = { text: "", isNote: false, replyTo: null, resendOf: null };

function storageKey(identity: Identity, conversationId: string): string {
  return `draft:${identity.organization}:${identity.user}:${conversationId}`;
}

export function readDraft(identity: Identity, conversationId: string): Draft {
  const stored = window.sessionStorage.getItem(storageKey(identity, conversationId));
  return stored ? { ...EMPTY_DRAFT, ...(JSON.parse(stored) as Partial<Draft>) } : EMPTY_DRAFT;
}

export function writeDraft(identity: Identity, conversationId: string, draft: Draft): void {
  const key = storageKey(identity, conversationId);
  if (draft.text || draft.isNote || draft.replyTo || draft.resendOf)
    window.sessionStorage.setItem(key, JSON.stringify(draft));
  else window.sessionStorage.removeItem(key);
}
