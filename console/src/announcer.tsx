import { useSyncExternalStore } from "react";

let current = "";
const listeners = new Set<() => void>();

/** Tells people who listen to the page instead of looking at it. */
export function announce(sentence: string): void {
  // The same sentence twice would not be read twice.
  current = sentence === current ? `${sentence}\u00A0` : sentence;
  listeners.forEach((listener) => listener());
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function Announcer() {
  const sentence = useSyncExternalStore(subscribe, () => current);
  return (
    <div className="visually-hidden" role="status" aria-live="polite">
      {sentence}
    </div>
  );
}
