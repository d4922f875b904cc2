import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { BrowserRouter, Navigate, Route, Routes } from "react-router";
import { Announcer } from "./announcer";
import { ApiError, createApi } from "./api";
import { Changes } from "./changes";
import type { Config } from "./config";
import { ConsoleContext } from "./console-context";
import { ConversationsPage } from "./conversations/conversations-page";
import { MissingPage } from "./missing-page";
import { Outbox } from "./outbox";
import type { Identity, Session } from "./session";
import { Shell } from "./shell";
import { SignInPage } from "./sign-in-page";
import { Loading } from "./ui/states";

const SocialsPage = lazy(() => import("./settings/socials-page").then((module) => ({ default: module.SocialsPage })));

export function App({ config, session }: { config: Config; session: Session }) {
  const state = useSyncExternalStore(session.subscribe, () => session.state);
  if (state.kind === "signedOut") return <SignInPage session={session} reason={state.reason} />;
  const { identity } = state;
  // Somebody else in the same tab starts with nothing of the one before.
  return <SignedIn key={JSON.stringify(identity)} config={config} session={session} identity={identity} />;
}

function SignedIn({ config, session, identity }: { config: Config; session: Session; identity: Identity }) {
  const [queries] = useState(createQueries);
  const value = useMemo(() => {
    const api = createApi(session);
    const outbox = new Outbox(api, queries, identity);
    return { api, config, session, identity, outbox, changes: new Changes(api, queries, identity) };
  }, [config, session, identity, queries]);
  useEffect(() => value.outbox.start(), [value.outbox]);
  useEffect(() => value.changes.start(), [value.changes]);
  if (!identity.organization || (identity.role !== "admin" && identity.role !== "operator")) {
    return <SignInPage session={session} reason={identity.organization ? "noRole" : "noOrganization"} />;
  }
  return (
    <ConsoleContext value={value}>
      <QueryClientProvider client={queries}>
        <BrowserRouter>
          <Routes>
            <Route element={<Shell />}>
              <Route path="/conversations/:conversationId?" element={<ConversationsPage />} />
              <Route
                path="/settings/socials"
                element={
                  <Suspense fallback={<Loading />}>
                    <SocialsPage />
                  </Suspense>
                }
              />
              <Route path="/" element={<Navigate to="/conversations" replace />} />
              <Route path="*" element={<MissingPage />} />
            </Route>
          </Routes>
        </BrowserRouter>
        <Announcer />
      </QueryClientProvider>
    </ConsoleContext>
  );
}

function createQueries(): QueryClient {
  // What was refused stays refused; what got no answer may get one.
  const retry = (failures: number, error: Error) =>
    failures < 2 && error instanceof ApiError && (error.status === 0 || error.status >= 500 || error.status === 429);
  return new QueryClient({ defaultOptions: { queries: { retry, staleTime: 1_000 }, mutations: { retry: false } } });
}
