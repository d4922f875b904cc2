import { ApiError, type Platform } from "../api";
import { text } from "../text";

/** A field of the form in which an account is connected, by its name in the API. */
export type Field = "apiKey" | "phoneNumberId" | "wabaId" | "instagramAccountId" | "facebookPageId";
export type Values = Partial<Record<Field, string>>;
export type Problems = Partial<Record<Field, string>>;

/** Exactly what each platform asks for, the account's id first. */
export const FIELDS: Record<Platform, readonly [Field, ...Field[]]> = {
  whatsapp: ["phoneNumberId", "apiKey", "wabaId"],
  instagram: ["instagramAccountId", "apiKey"],
  facebook: ["facebookPageId", "apiKey"],
};

const OPTIONAL: readonly Field[] = ["wabaId"];
// As the API checks them.
const API_KEY = /^[!-~]{1,1024}$/;
const ACCOUNT_ID = /^[!"$-.0-~]{1,128}$/;
const WABA_ID_MAX = 128;

export function isOptional(field: Field): boolean {
  return OPTIONAL.includes(field);
}

/** What is wrong with what was filled in, before anybody is asked. */
export function problemsOf(platform: Platform, values: Values): Problems {
  const problems = FIELDS[platform].map((field) => [field, problemOf(field, values[field]?.trim() ?? "")] as const);
  return Object.fromEntries(problems.filter(([, problem]) => problem !== null));
}

function problemOf(field: Field, value: string): string | null {
  const { form } = text.settings;
  if (!value) return isOptional(field) ? null : form.missing(form[field]);
  if (field === "apiKey") return API_KEY.test(value) ? null : form.badKey;
  if (field === "wabaId") return value.length <= WABA_ID_MAX ? null : form.badId;
  return ACCOUNT_ID.test(value) ? null : form.badId;
}

/** The field that a refusal is about; null where it is about none of them. */
export function fieldOf(platform: Platform, error: unknown): Field | null {
  if (!(error instanceof ApiError)) return null;
  const named = FIELDS[platform].find((field) => field === error.details.field);
  if (named) return named;
  switch (error.code) {
    case "INVALID_CREDENTIALS":
      return "apiKey";
    case "ACCOUNT_MISMATCH":
    case "ACCOUNT_NOT_PROVEN":
    case "ACCOUNT_IN_USE":
      return FIELDS[platform][0];
    default:
      return null;
  }
}
