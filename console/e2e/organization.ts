import { randomInt, randomUUID } from "node:crypto";
import type { System } from "./system";

export type Platform = "whatsapp" | "instagram" | "facebook";
export type Role = "admin" | "operator";

export const PLATFORMS: Platform[] = ["whatsapp", "instagram", "facebook"];

/** What a customer does; the fields of `POST /simulate/inbound`. */
export interface Doing {
  from?: string;
  name?: string;
  type?: string;
  text?: string;
  content?: object;
  replyTo?: string;
  target?: string;
  emoji?: string;
  timestamp?: number;
  payload?: object;
}

/** A bubble on the customer's phone. */
export interface Bubble {
  id: string;
  by: "customer" | "business";
  text: string | null;
  status: string | null;
  replyTo: string | null;
}

const ACCOUNT_FIELD = {
  whatsapp: "phoneNumberId",
  instagram: "instagramAccountId",
  facebook: "facebookPageId",
} as const;

/** An organization that nobody else uses, with an account id of its own. */
export class Organization {
  readonly id = `org-${randomUUID().slice(0, 8)}`;
  readonly account = digits(12);

  constructor(private readonly system: System) {}

  key(platform: Platform): string {
    return `sim_${platform}_${this.account}`;
  }

  /** A call of the API; it must succeed. */
  async call<T>(method: string, path: string, body?: object, role: Role | "service" = "admin"): Promise<T> {
    const { api } = this.system.urls;
    const query = new URLSearchParams({ organization: this.id, user: "setup", role });
    const { token } = (await (await fetch(`${api}/local/token?${query}`)).json()) as { token: string };
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const response = await fetch(`${api}/api/v1${path}`, {
      method,
      headers,
      ...(body && { body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return ((await response.json()) as { data: T }).data;
  }

  async connect(...platforms: Platform[]): Promise<void> {
    for (const platform of platforms) {
      const body = { apiKey: this.key(platform), [ACCOUNT_FIELD[platform]]: this.account };
      await this.call("POST", `/social-integrations/${platform}/connect`, body);
    }
  }

  /** A customer does something; returns the message's id once the webhook has stored it. */
  async customer(platform: Platform, doing: Doing): Promise<string> {
    const who = { from: customerId(platform), name: "Lena Vogt" };
    const body = { platform, accountId: this.account, ...(doing.payload ? {} : who), ...doing };
    const answer = await this.system.simulate<{ id: string; delivered: boolean }>("inbound", body);
    if (!answer.delivered) throw new Error(`the webhook did not take it: ${JSON.stringify(answer)}`);
    return answer.id;
  }

  /** What the customer's phone shows. */
  async phone(platform: Platform, customer = customerId(platform)): Promise<Bubble[]> {
    const query = new URLSearchParams({ platform, accountId: this.account, customer });
    return (await this.system.simulate<{ messages: Bubble[] }>(`thread?${query}`)).messages;
  }

  /** The next calls for this account go wrong. */
  async fault(fault: string, path: "messages" | "health_status" | "webhook", calls = 1): Promise<void> {
    await this.system.simulate("fault", { fault, path, calls, accountId: this.account });
  }

  async clearFaults(): Promise<void> {
    await this.system.simulate("fault", { fault: "none" });
  }
}

/** The customer, where no other is named. */
export function customerId(platform: Platform): string {
  return { whatsapp: "491713920012", instagram: "1029384756102938", facebook: "7301122334455667" }[platform];
}

export function digits(count: number): string {
  return Array.from({ length: count }, () => randomInt(1, 10)).join("");
}
