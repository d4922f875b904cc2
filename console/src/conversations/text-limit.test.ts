import { expect, it } from "vitest";
import { textLeft, textLimit } from "./text-limit";

it.each([
  ["whatsapp", "😀".repeat(4096), 0],
  ["facebook", "a".repeat(2001), -1],
  ["instagram", "😀".repeat(250), 0],
  ["instagram", "ü".repeat(501), -2],
  ["website", "", 4096],
] as const)("a text for %s is counted as the API counts it", (channel, text, left) => {
  expect(textLeft(text, textLimit(channel, false))).toBe(left);
});

it("a note has a limit of its own", () => {
  expect(textLeft("a".repeat(2000), textLimit("instagram", true))).toBe(2096);
});
