import { useMutation, useQuery, useQueryClient, type QueryClient, type UseQueryResult } from "@tanstack/react-query";
import { answer, type Integration, type Page, type Platform } from "../api";
import { useConsole } from "../console-context";
import type { components } from "../openapi";
import { usePolling } from "../polling";

export type Credentials = components["schemas"]["ConnectIntegrationRequest"];

const KEY = ["integrations"] as const;
const POLL_MS = 15_000;

/** The organization's integrations, at most one for each platform. */
export function useIntegrations(): UseQueryResult<Integration[]> {
  const { api } = useConsole();
  return useQuery({
    queryKey: KEY,
    queryFn: async () => {
      const page: Page<Integration> = await answer(api.GET("/api/v1/social-integrations"));
      return page.items;
    },
    ...usePolling(POLL_MS),
  });
}

/** Asks again how the accounts are. */
export function refreshIntegrations(queries: QueryClient): void {
  void queries.invalidateQueries({ queryKey: KEY });
}

/** What an admin does with the integration of one platform. */
export function useIntegrationActions(platform: Platform) {
  const { api } = useConsole();
  const queries = useQueryClient();
  const params = { path: { platform } };
  const tell = (integration: Integration | null) =>
    queries.setQueryData<Integration[]>(KEY, (before = []) => [
      ...before.filter((other) => other.platform !== platform),
      ...(integration ? [integration] : []),
    ]);
  // What was shown may be what made the request fail: ask again.
  const onError = () => queries.invalidateQueries({ queryKey: KEY });
  return {
    connect: useMutation({
      mutationFn: (body: Credentials): Promise<Integration> =>
        answer(api.POST("/api/v1/social-integrations/{platform}/connect", { params, body })),
      onSuccess: tell,
    }),
    /** Connects the account again with the key that is stored, and registers the webhook anew. */
    again: useMutation({
      mutationFn: ({ credentials }: Integration): Promise<Integration> => {
        const { phoneNumberId, instagramAccountId, facebookPageId } = credentials;
        const body = {
          ...(phoneNumberId && { phoneNumberId }),
          ...(instagramAccountId && { instagramAccountId }),
          ...(facebookPageId && { facebookPageId }),
        };
        return answer(api.POST("/api/v1/social-integrations/{platform}/connect", { params, body }));
      },
      onSuccess: tell,
      onError,
    }),
    test: useMutation({
      mutationFn: (): Promise<Integration> =>
        answer(api.POST("/api/v1/social-integrations/{platform}/test", { params })),
      onSuccess: tell,
      onError,
    }),
    disconnect: useMutation({
      mutationFn: (): Promise<Integration> =>
        answer(api.POST("/api/v1/social-integrations/{platform}/disconnect", { params })),
      onSuccess: tell,
      onError,
    }),
    remove: useMutation({
      mutationFn: (): Promise<null> => answer(api.DELETE("/api/v1/social-integrations/{platform}", { params })),
      onSuccess: tell,
      onError,
    }),
  };
}
