import { useSyncExternalStore } from "react";

/** New messages and statuses have to show within three seconds. */
const VISIBLE_MS = 2_000;
const HIDDEN_MS = 30_000;

function subscribe(listener: () => void): () => void {
  document.addEventListener("visibilitychange", listener);
  return () => document.removeEventListener("visibilitychange", listener);
}

export function useIsVisible(): boolean {
  return useSyncExternalStore(subscribe, () => document.visibilityState === "visible");
}

/** How a query stays up to date: often while somebody looks, rarely while hidden, at once on return and after being offline. */
export function usePolling(visibleMs: number = VISIBLE_MS) {
  const isVisible = useIsVisible();
  return {
    refetchInterval: isVisible ? visibleMs : HIDDEN_MS,
    refetchIntervalInBackground: true,
    refetchOnWindowFocus: "always",
    refetchOnReconnect: "always",
  } as const;
}
