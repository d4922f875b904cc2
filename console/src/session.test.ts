import { expect, it } from "vitest";
import { identityOf } from "./session";

const NAMES = { organization: "organizationId", user: "sub", role: "role" };

it.each([
  [{ sub: "ann", organizationId: "acme", role: "admin" }, "admin"],
  [{ sub: "ann", "custom:organizationId": "acme", "custom:role": "operator" }, "operator"],
  [{ sub: "ann", organizationId: "acme", role: ["operator", "admin"] }, "admin"],
  [{ sub: "ann", organizationId: "acme", role: "[service operator]" }, "operator"],
  [{ sub: "ann", organizationId: "acme", role: "owner" }, null],
  [{ sub: "ann", organizationId: "acme", role: "not admin" }, null],
  [{ sub: "ann", organizationId: "acme", role: ["shop admin"] }, null],
] as const)("who is signed in is what the token says: %j", (claims, role) => {
  expect(identityOf(claims, NAMES)).toEqual({ organization: "acme", user: "ann", role });
});
