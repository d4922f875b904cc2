import { expect, it } from "vitest";
import { phoneNumber } from "./phone";

it.each([
  ["491713920012", "+49 171 392 0012"],
  ["4915112345678", "+49 151 123 456 78"],
  ["15550001001", "+1 555 000 1001"],
  ["33612345678", "+33 612 345 678"],
  ["390612345678", "+39 061 234 5678"],
  ["353861234567", "+353 861 234 567"],
  ["+79161234567", "+7 916 123 4567"],
  ["6512345678", "+65 123 456 78"],
])("a number is written with + and groups: %s", (digits, written) => {
  expect(phoneNumber(digits)).toBe(written);
});

it.each(["", "visitor-1", "12345", "+49 171 3920012", "1234567890123456"])("what is no number stays: %s", (other) => {
  expect(phoneNumber(other)).toBe(other);
});
