import { Fragment } from "react";

/** Characters that force the direction of what follows: they have no use but to disguise a text. */
const OVERRIDES = /[\u202D\u202E]/g;
const LINK = /\b(?:https?:\/\/|mailto:)[^\s<>"]+/gi;
/** A sentence's punctuation is not part of the address before it. */
const TRAILING = /[.,;:!?'’”)\]}]+$/;
const SAFE_PROTOCOLS = ["http:", "https:", "mailto:"];

/** A text from elsewhere, without what could turn it around. */
export function withoutOverrides(text: string): string {
  return text.replace(OVERRIDES, "");
}

/** The address, where it is one that a person may safely be led to. */
export function safeHref(text: string | undefined): string | null {
  if (!text || !URL.canParse(text)) return null;
  const url = new URL(text);
  return SAFE_PROTOCOLS.includes(url.protocol) ? url.href : null;
}

interface Part {
  text: string;
  href: string | null;
}

/** A text, cut where a link begins or ends. */
export function partsOf(text: string): Part[] {
  const parts: Part[] = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const found = match[0].replace(TRAILING, (punctuation) => keptPunctuation(match[0], punctuation));
    const href = safeHref(found);
    if (!href) continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index), href: null });
    parts.push({ text: found, href });
    end = match.index + found.length;
  }
  if (end < text.length) parts.push({ text: text.slice(end), href: null });
  return parts;
}

/** A closing bracket belongs to an address that has opened one. */
function keptPunctuation(address: string, punctuation: string): string {
  return punctuation.startsWith(")") && address.includes("(") ? ")" : "";
}

/** A link to elsewhere that tells nothing of where it was clicked. */
export function ExternalLink({ href, children }: { href: string; children: React.ReactNode }) {
  return (
    <a href={href} title={href} target="_blank" rel="noopener noreferrer nofollow">
      {children}
    </a>
  );
}

/** A customer's text: never markup, links made safe, its direction its own affair. */
export function PlainText({ children }: { children: string }) {
  return (
    <div className="plain-text" dir="auto">
      {partsOf(withoutOverrides(children)).map((part, index) => (
        <Fragment key={index}>
          {part.href ? <ExternalLink href={part.href}>{part.text}</ExternalLink> : part.text}
        </Fragment>
      ))}
    </div>
  );
}

/** A short text from elsewhere, such as a name, in the midst of ours. */
export function Foreign({ children }: { children: string }) {
  return <bdi>{withoutOverrides(children)}</bdi>;
}
