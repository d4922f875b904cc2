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

/** One for all tabs, as the session is: signing out removes them. */
function storageKey(identity: Identity, conversationId: string): string {
  return `draft:${identity.organization}:${identity.user}:${conversationId}`;
}

export function readDraft(identity: Identity, conversationId: string): Draft {
  const stored = window.localStorage.getItem(storageKey(identity, conversationId));
  return stored ? { ...EMPTY_DRAFT, ...(JSON.parse(stored) as Partial<Draft>) } : EMPTY_DRAFT;
}

export function writeDraft(identity: Identity, conversationId: string, draft: Draft): void {
  const key = storageKey(identity, conversationId);
  if (draft.text || draft.isNote || draft.replyTo || draft.resendOf)
    window.localStorage.setItem(key, JSON.stringify(draft));
  else window.localStorage.removeItem(key);
}

/** Tells whenever another tab has changed the draft. Returns how to stop. */
export function followDraft(identity: Identity, conversationId: string, onChange: (draft: Draft) => void): () => void {
  const listener = ({ storageArea, key }: StorageEvent) => {
    if (storageArea !== window.localStorage || key !== storageKey(identity, conversationId)) return;
    onChange(readDraft(identity, conversationId));
  };
  window.addEventListener("storage", listener);
  return () => window.removeEventListener("storage", listener);
}
