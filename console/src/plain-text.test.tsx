// @vitest-environment jsdom
import { cleanup, render } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";
import { partsOf, PlainText, safeHref } from "./plain-text";

afterEach(cleanup);

describe("a customer's text", () => {
  it.each([
    ["See https://example.com/a?b=1.", "https://example.com/a?b=1"],
    ["(https://example.com/a)", "https://example.com/a"],
    ["https://example.com/a_(b)!", "https://example.com/a_(b)"],
    ["Write to mailto:ann@example.com, please", "mailto:ann@example.com"],
    ["HTTPS://EXAMPLE.COM", "HTTPS://EXAMPLE.COM"],
  ])("has links: %s", (text, link) => {
    const parts = partsOf(text);
    expect(parts.find((part) => part.href)?.text).toBe(link);
    expect(parts.map((part) => part.text).join("")).toBe(text);
  });

  it.each(["javascript:alert(1)", "data:text/html,x", "ftp://example.com", "https://", "xhttps:/x", "vbscript:x"])(
    "has no link in %s",
    (text) => {
      expect(partsOf(text).every((part) => part.href === null)).toBe(true);
    },
  );

  it("stays text, whatever it says", () => {
    const hostile = "<img src=x onerror=alert(1)><script>alert(1)</script> javascript:alert(1)";
    const { container } = render(<PlainText>{hostile}</PlainText>);
    expect(container.textContent).toBe(hostile);
    expect(container.querySelector("img, script, a")).toBeNull();
  });

  it("cannot turn what follows around", () => {
    const { container } = render(<PlainText>{"photo\u202Egnp.exe"}</PlainText>);
    expect(container.textContent).toBe("photognp.exe");
  });

  it("leads elsewhere without telling from where", () => {
    const { container } = render(<PlainText>https://example.com/</PlainText>);
    const link = container.querySelector("a");
    expect(link?.rel).toBe("noopener noreferrer nofollow");
    expect(link?.target).toBe("_blank");
  });
});

describe("an address from elsewhere", () => {
  it.each([undefined, "", "javascript:alert(1)", "//example.com", "not an address"])(
    "is not followed: %s",
    (address) => {
      expect(safeHref(address)).toBeNull();
    },
  );
});
