import { createContext, use } from "react";
import type { Api } from "./api";
import type { Changes } from "./changes";
import type { Config } from "./config";
import type { Outbox } from "./outbox";
import type { Identity, Session } from "./session";

/** What every page may use while somebody is signed in. */
export interface Console {
  api: Api;
  config: Config;
  session: Session;
  identity: Identity;
  outbox: Outbox;
  changes: Changes;
}

export const ConsoleContext = createContext<Console | null>(null);

export function useConsole(): Console {
  const console = use(ConsoleContext);
  if (!console) throw new Error("outside of a session");
  return console;
}
