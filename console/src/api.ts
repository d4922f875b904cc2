import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./openapi";
import type { Session } from "./session";
import { text } from "./text";

type Schemas = components["schemas"];
export type Conversation = Schemas["Conversation"];
export type ConversationList = Schemas["ConversationList"];
export type Customer = Schemas["Customer"];
export type ErrorCode = Schemas["ErrorCode"];
export type ErrorDetails = NonNullable<Schemas["ErrorDetails"]>;
export type Integration = Schemas["Integration"];
export type Message = Schemas["Message"];
export type MessageStatus = Schemas["MessageStatus"];
export type Page<T> = { items: T[]; pagination: Schemas["Pagination"] };
export type Platform = Schemas["Platform"];
export type UpdateConversation = Schemas["UpdateConversationRequest"];

export type Api = Client<paths>;

/** API Gateway gives up after 30 seconds; a connection that died in between should not be waited for much longer. */
const REQUEST_TIMEOUT_MS = 35_000;

/** A request that was refused, failed, or got no answer. */
export class ApiError extends Error {
  override name = "ApiError";

  constructor(
    /** For people. */
    message: string,
    /** 0 where there was no answer. */
    readonly status: number,
    /** Null where the API itself did not answer. */
    readonly code: ErrorCode | null,
    readonly details: ErrorDetails,
  ) {
    super(message);
  }
}

export function createApi(session: Session): Api {
  const attempt = async (request: Request) => {
    const token = await session.token();
    const headers = new Headers(request.headers);
    if (token) headers.set("Authorization", `Bearer ${token}`);
    const signal = AbortSignal.any([request.signal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
    return fetch(new Request(request.clone(), { headers, signal }));
  };
  return createClient<paths>({
    baseUrl: window.location.origin,
    fetch: async (request) => {
      let response = await attempt(request);
      if (response.status === 401 && (await session.renew())) response = await attempt(request);
      if (response.status === 401) await session.expire();
      return response;
    },
  });
}

/** What was asked for, out of its envelope. */
export async function answer<T>(
  request: Promise<{ data?: { success: true; data?: T | undefined } | undefined; error?: unknown; response: Response }>,
): Promise<T> {
  const result = await request.catch((error: unknown) => {
    throw error instanceof DOMException && error.name === "AbortError" ? error : noAnswer();
  });
  if (result.data) return result.data.data as T;
  throw refusal(result.response.status, result.error);
}

/** A request to which there was no answer: nobody knows whether it arrived. */
export function noAnswer(): ApiError {
  return new ApiError(text.errors.noAnswer, 0, null, {});
}

function refusal(status: number, body: unknown): ApiError {
  const envelope = body as Partial<Schemas["Error"]> | undefined;
  const error = envelope?.error;
  if (error) return new ApiError(sentence(error.message), status, error.code, error.details ?? {});
  return new ApiError(text.errors.gateway(status), status, null, {});
}

/** The API's messages begin in lower case, as errors do in logs. */
function sentence(message: string): string {
  const ended = /[.!?]$/.test(message) ? message : `${message}.`;
  return ended.charAt(0).toUpperCase() + ended.slice(1);
}

/** What to tell a person of an error of any kind. */
export function explain(error: unknown): string {
  return error instanceof ApiError ? error.message : text.errors.unexpected;
}
