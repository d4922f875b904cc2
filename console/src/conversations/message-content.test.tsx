// @vitest-environment jsdom
import { cleanup, render } from "@testing-library/react";
import { afterEach, describe, expect, it } from "vitest";
import type { Message } from "../api";
import { message } from "../testing/examples";
import { MessageContent } from "./message-content";

type ContentType = Message["contentType"];

afterEach(cleanup);

function shown(contentType: ContentType, content: object, text: string | null = null) {
  const shape = message({ contentType, text, content: content });
  return render(<MessageContent message={shape} platform="instagram" />).container;
}

describe("the card of a message", () => {
  it.each<[ContentType, object, string]>([
    ["image", { mimeType: "image/jpeg" }, "Photoimage/jpeg · Kept by Instagram"],
    ["audio", { voice: true }, "Voice message"],
    ["document", { fileName: "Invoice.pdf" }, "Invoice.pdf"],
    ["sticker", { animated: true }, "Animated sticker"],
    ["location", { latitude: 52.52, longitude: 13.4, name: "Shop" }, "Shop52.52, 13.4"],
    ["contacts", { contacts: [{ name: { formattedName: "Max" }, phones: [{ phone: "+49 171" }] }] }, "Max+49 171"],
    ["contacts", { contacts: [null, { name: "Max", phones: "none" }] }, "Without a name"],
    ["interactive", { kind: "list_reply", title: "09:30", description: "Dr. Kim" }, "Chose from a list09:30Dr. Kim"],
    ["interactive", { kind: "nfm_reply", response: { size: "M", count: 2 } }, "sizeMcount2"],
    ["interactive", { kind: "something_new", title: "Yes" }, "ChoseYes"],
    ["order", { items: [{ productRetailerId: "SKU-1", quantity: 2, itemPrice: 19.9, currency: "EUR" }] }, "2 × SKU-1"],
    ["order", { items: [{ productRetailerId: "SKU-1", itemPrice: 5, currency: "points" }] }, "SKU-1 5"],
    ["order", { items: [{ productRetailerId: "SKU-1", name: "Shirt", quantity: 2 }] }, "2 × Shirt"],
    ["interactive", { kind: "feedback", response: { csat: "4" } }, "Gave feedbackcsat4"],
    ["system", { kind: "optout" }, "wants no more notifications"],
    ["call", { direction: "inbound", status: "completed", durationSeconds: 93 }, "End of a call1:33 min"],
    ["system", { kind: "user_changed_number", phone: "+49 172" }, "new number+49 172"],
    ["share", { title: "Our spring" }, "Shared a postOur spring"],
    [
      "call",
      { direction: "inbound", durationSeconds: 184, transcript: "Good morning" },
      "3:04 minTranscriptGood morning",
    ],
    ["unsupported", { type: "poll", raw: { a: 1 } }, "cannot be shown here: poll"],
    ["hologram" as ContentType, { depth: 3 }, "cannot be shown here: hologram"],
    ["text", { referral: { headline: "Spring sale", sourceUrl: "https://fb.me/x" } }, "Spring salehttps://fb.me/x"],
  ])("tells what a %s holds: %j", (contentType, content, words) => {
    expect(shown(contentType, content).textContent).toContain(words);
  });

  it("does not say again what the message's text says", () => {
    expect(shown("postback", { title: "Get started" }, "Get started").textContent).toBe("Pressed a button");
  });

  it.each<[ContentType, object]>([
    ["share", { url: "javascript:alert(1)" }],
    ["call", { recordingUrl: "data:text/html,<script>alert(1)</script>" }],
    ["location", { url: "javascript:alert(1)" }],
    ["text", { referral: { sourceUrl: "javascript:alert(1)" } }],
  ])("leads nowhere unsafe: %s %j", (contentType, content) => {
    expect(shown(contentType, content).querySelector("a")).toBeNull();
  });

  it("leads to everything that is attached", () => {
    const [first, second] = ["https://scontent.example/1.jpg", "https://scontent.example/2.pdf"];
    const attachments = [
      { type: "image", url: first },
      { type: "file", url: second, title: "Offer" },
      { type: "image", url: "javascript:alert(1)" },
      null,
    ];
    const photo = shown("image", { url: first, attachments });
    expect([...photo.querySelectorAll("a")].map((link) => link.href)).toEqual([first, second]);
    expect(photo.textContent).toContain("DocumentOffer");
  });

  it("loads nothing from elsewhere", () => {
    const photo = shown("image", { url: "https://scontent.example/1.jpg", attachments: [{ url: "https://x" }, {}] });
    expect(photo.querySelector("img, video, audio, iframe, object")).toBeNull();
    expect(photo.querySelector("a")?.href).toBe("https://scontent.example/1.jpg");
  });
});
