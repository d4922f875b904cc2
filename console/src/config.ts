/** What `/config.json` says; written by whoever serves the console. */
export interface Config {
  issuer: string;
  clientId: string;
  /** Which token the API takes as bearer. */
  token: "id_token" | "access_token";
  scope: string;
  /** The claims that say who somebody is; each is also found with Cognito's prefix `custom:`. */
  claims: { organization: string; user: string; role: string };
  /** What 360dialog delivers to. */
  webhookUrl: string;
  /** Where signing out leads, for issuers without a standard end of session. */
  logoutUrl?: string;
}

export async function loadConfig(): Promise<Config> {
  const response = await fetch("/config.json", { cache: "no-store" });
  if (!response.ok) throw new Error(`/config.json: ${response.status}`);
  return (await response.json()) as Config;
}
