import { expect, it } from "vitest";
import { ApiError, type ErrorCode } from "../api";
import { fieldOf, problemsOf } from "./credentials";

it("a form that is filled in has no problems; the WABA ID may be missing", () => {
  expect(problemsOf("whatsapp", { phoneNumberId: " 1001 ", apiKey: "sim_whatsapp_1001" })).toEqual({});
});

it.each([
  ["whatsapp", {}, ["phoneNumberId", "apiKey"]],
  ["instagram", { instagramAccountId: "10#01", apiKey: "key" }, ["instagramAccountId"]],
  ["facebook", { facebookPageId: "1001", apiKey: "two words" }, ["apiKey"]],
  ["facebook", { facebookPageId: "1".repeat(129), apiKey: "k".repeat(1025) }, ["facebookPageId", "apiKey"]],
] as const)("what is wrong in the form of %s is found before anybody is asked", (platform, values, fields) => {
  expect(Object.keys(problemsOf(platform, values))).toEqual(fields);
});

it.each([
  ["INVALID_CREDENTIALS", {}, "apiKey"],
  ["ACCOUNT_MISMATCH", {}, "phoneNumberId"],
  ["ACCOUNT_NOT_PROVEN", {}, "phoneNumberId"],
  ["ACCOUNT_IN_USE", {}, "phoneNumberId"],
  ["INVALID_BODY", { field: "wabaId" }, "wabaId"],
  ["INVALID_BODY", { field: "somethingElse" }, null],
  ["PROVIDER_UNAVAILABLE", {}, null],
] as const)("%s is shown at the field that it is about", (code: ErrorCode, details, field) => {
  expect(fieldOf("whatsapp", new ApiError("no", 400, code, details))).toBe(field);
});
