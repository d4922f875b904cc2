import type { UseQueryResult } from "@tanstack/react-query";
import { useState } from "react";

/**
 * Why a query has nothing to show; null where it has, or where nothing has failed yet. It stays while another attempt is under way,
 * or polling would put the skeleton in its place every few seconds, and take the way out from under the hand.
 */
export function useFailure(query: UseQueryResult): Error | null {
  const [last, setLast] = useState<Error | null>(null);
  const isLoaded = query.data !== undefined && !query.isPlaceholderData;
  const failure = isLoaded ? null : (query.error ?? last);
  if (failure !== last) setLast(failure);
  return failure;
}
