import { useSyncExternalStore } from "react";
import { useProblemCount } from "./conversations/queries";
import { text } from "./text";

let unread: string | null = null;
const listeners = new Set<() => void>();

/** Shows how many conversations are unread in the tab: its icon, and the titles of all pages. */
export function showUnread(label: string | null): void {
  unread = label;
  document.querySelector("link[rel=icon]")?.setAttribute("href", icon(label));
  listeners.forEach((listener) => listener());
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** The tab's title: the page, how much is unread, and in how many conversations something failed. */
export function PageTitle({ children }: { children: string }) {
  const label = useSyncExternalStore(subscribe, () => unread);
  const problems = useProblemCount();
  return <title>{text.documentTitle(label, problems, children)}</title>;
}

function icon(label: string | null): string {
  const badge = label
    ? `<circle cx="21" cy="11" r="11" fill="#d92d20"/><text x="21" y="16" font-family="sans-serif" font-weight="700" text-anchor="middle" font-size="${label.length > 2 ? 11 : 15}" fill="#fff">${label}</text>`
    : "";
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><path d="M4 6h24a2 2 0 0 1 2 2v14a2 2 0 0 1-2 2H14l-7 6v-6H4a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2z" fill="#4f46e5"/>${badge}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}
