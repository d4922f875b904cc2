import {
  AtSign,
  CircleHelp,
  ContactRound,
  FileText,
  Image,
  Info,
  ListChecks,
  MapPin,
  Mic,
  MousePointerClick,
  Paperclip,
  Phone,
  Share2,
  ShoppingBasket,
  Sticker,
  Video,
  Volume2,
  type LucideIcon,
} from "lucide-react";
import type { ReactNode } from "react";
import type { Message, Platform } from "../api";
import type { components } from "../openapi";
import { ExternalLink, Foreign, PlainText, safeHref, withoutOverrides } from "../plain-text";
import { LOCALE, text } from "../text";

type Schemas = components["schemas"];

interface Props {
  message: Message;
  platform: Platform | null;
}

/** What a message holds beside its text, by its type; nothing is loaded from elsewhere. */
export function MessageContent({ message, platform }: Props) {
  return (
    <>
      <TypedContent message={message} platform={platform} />
      <CommonContent content={message.content} />
    </>
  );
}

function TypedContent({ message, platform }: Props) {
  const { content } = message;
  switch (message.contentType) {
    case "text":
      return null;
    case "image":
    case "video":
    case "audio":
    case "document":
    case "sticker":
      return <Media kind={message.contentType} content={content as Schemas["MediaContent"]} platform={platform} />;
    case "location":
      return <Location content={content as Schemas["LocationContent"]} />;
    case "contacts":
      return <Contacts content={content as Schemas["ContactsContent"]} />;
    case "interactive":
      return <Choice content={content as Schemas["InteractiveContent"]} text={message.text} />;
    case "button":
    case "postback":
      return (
        <Card icon={MousePointerClick} title={text.content.button}>
          <Line unless={message.text}>{(content as Schemas["PostbackContent"]).title}</Line>
        </Card>
      );
    case "order":
      return <Order content={content as Schemas["OrderContent"]} />;
    case "system":
      return <System content={content as Schemas["SystemContent"]} />;
    case "story_reply":
    case "story_mention":
    case "share":
      return <Linked kind={message.contentType} content={content} text={message.text} />;
    case "call":
      return <Call content={content as Schemas["CallContent"]} />;
    case "unsupported":
      return <Unsupported content={content as Schemas["UnsupportedContent"]} />;
    default:
      return <Unsupported content={{ type: message.contentType satisfies never, raw: content }} />;
  }
}

function Card({ icon: Icon, title, children }: { icon: LucideIcon; title: string; children?: ReactNode }) {
  return (
    <div className="card">
      <Icon aria-hidden />
      <div>
        <strong>{title}</strong>
        {children}
      </div>
    </div>
  );
}

/** A line of a card, where there is something to say that the message's text does not say already. */
function Line({ children, unless }: { children: string | undefined; unless?: string | null }) {
  return children && children !== unless ? (
    <p>
      <Foreign>{children}</Foreign>
    </p>
  ) : null;
}

function Elsewhere({ url }: { url: string | undefined }) {
  const href = safeHref(url);
  return href ? (
    <p>
      <ExternalLink href={href}>{text.content.openElsewhere}</ExternalLink> <small>{text.content.mayExpire}</small>
    </p>
  ) : null;
}

const MEDIA_ICONS = { image: Image, video: Video, audio: Volume2, document: FileText, sticker: Sticker };

type MediaKind = keyof typeof MEDIA_ICONS;

function Media({
  kind,
  content,
  platform,
}: {
  kind: MediaKind;
  content: Schemas["MediaContent"];
  platform: Platform | null;
}) {
  const isVoice = kind === "audio" && content.voice;
  const title = isVoice
    ? text.content.voice
    : kind === "sticker" && content.animated
      ? text.content.animatedSticker
      : text.content[kind];
  return (
    <Card icon={isVoice ? Mic : MEDIA_ICONS[kind]} title={title}>
      <Line>{content.fileName ?? content.title}</Line>
      <p className="faint">
        {content.mimeType && (
          <>
            <Foreign>{content.mimeType}</Foreign> ·{" "}
          </>
        )}
        {text.content.notShown(platform ? text.platform[platform] : text.content.provider)}
      </p>
      <Elsewhere url={content.url} />
    </Card>
  );
}

function Location({ content }: { content: Schemas["LocationContent"] }) {
  const { latitude, longitude, name, address, url } = content;
  const point = latitude !== undefined && longitude !== undefined ? { latitude, longitude } : null;
  const map =
    point &&
    `https://www.openstreetmap.org/?mlat=${point.latitude}&mlon=${point.longitude}#map=16/${point.latitude}/${point.longitude}`;
  return (
    <Card icon={MapPin} title={text.content.location}>
      <Line>{name}</Line>
      <Line>{address}</Line>
      {point && <p className="faint">{`${point.latitude}, ${point.longitude}`}</p>}
      {map && (
        <p>
          <ExternalLink href={map}>{text.content.openMap}</ExternalLink>
        </p>
      )}
      <Elsewhere url={url} />
    </Card>
  );
}

function Contacts({ content }: { content: Schemas["ContactsContent"] }) {
  const contacts = list(content.contacts);
  return (
    <Card icon={ContactRound} title={text.content.contacts(contacts.length)}>
      {contacts.map((contact, index) => {
        const name = string(member(member(contact, "name"), "formattedName"));
        const phones = list(member(contact, "phones")).map((phone) => string(member(phone, "phone")));
        const emails = list(member(contact, "emails")).map((email) => string(member(email, "email")));
        return (
          <div key={index}>
            <p>
              <Foreign>{name || text.content.unnamed}</Foreign>
            </p>
            {[...phones, ...emails].filter(Boolean).map((line) => (
              <p key={line} className="faint">
                <Foreign>{line}</Foreign>
              </p>
            ))}
          </div>
        );
      })}
    </Card>
  );
}

function Choice({ content, text: said }: { content: Schemas["InteractiveContent"]; text: string | null }) {
  const { kind, title, description, response } = content;
  return (
    <Card
      icon={kind === "list_reply" || kind === "nfm_reply" ? ListChecks : MousePointerClick}
      title={text.content.interactive(kind)}
    >
      <Line unless={said}>{title}</Line>
      <Line>{description}</Line>
      {response !== undefined && response !== null && (
        <dl className="answers">
          {entries(response).map(([name, value]) => (
            <div key={name}>
              <dt>
                <Foreign>{name}</Foreign>
              </dt>
              <dd>
                <Foreign>{value}</Foreign>
              </dd>
            </div>
          ))}
        </dl>
      )}
    </Card>
  );
}

function Order({ content }: { content: Schemas["OrderContent"] }) {
  const items = list(content.items) as Schemas["OrderContent"]["items"];
  return (
    <Card icon={ShoppingBasket} title={text.content.order(items.length)}>
      {items.map((item, index) => (
        <p key={index}>
          {item.quantity ?? 1} × <Foreign>{item.name ?? item.productRetailerId ?? ""}</Foreign>{" "}
          {item.itemPrice !== undefined && price(item.itemPrice, item.currency)}
        </p>
      ))}
    </Card>
  );
}

function price(amount: number, currency: string | undefined): string {
  // An unknown currency is no reason to show nothing.
  const isCode = /^[A-Za-z]{3}$/.test(currency ?? "");
  const style = isCode ? { style: "currency" as const, currency: currency ?? "" } : {};
  return amount.toLocaleString(LOCALE, style);
}

function System({ content }: { content: Schemas["SystemContent"] }) {
  return (
    <Card icon={Info} title={text.content.system(content.kind)}>
      <Line>{content.body}</Line>
      <Line unless={content.body ?? null}>{content.phone}</Line>
    </Card>
  );
}

const LINK_ICONS = { story_reply: Share2, story_mention: AtSign, share: Share2 };

interface LinkedProps {
  kind: keyof typeof LINK_ICONS;
  content: Schemas["LinkContent"] & Schemas["CommonContent"];
  text: string | null;
}

function Linked({ kind, content, text: said }: LinkedProps) {
  return (
    <Card icon={LINK_ICONS[kind]} title={text.content[kind]}>
      <Line unless={said}>{content.title}</Line>
      <Elsewhere url={content.url ?? string(member(content.story, "url"))} />
    </Card>
  );
}

function Call({ content }: { content: Schemas["CallContent"] }) {
  const recording = safeHref(content.recordingUrl);
  return (
    <Card
      icon={Phone}
      title={content.status ? text.content.callEnded : text.content.call[content.direction ?? "unknown"]}
    >
      {content.durationSeconds !== undefined && <p className="faint">{text.time.seconds(content.durationSeconds)}</p>}
      {recording && (
        <p>
          <ExternalLink href={recording}>{text.content.recording}</ExternalLink>
        </p>
      )}
      {content.transcript && (
        <>
          <p className="faint">{text.content.transcript}</p>
          <PlainText>{content.transcript}</PlainText>
        </>
      )}
    </Card>
  );
}

function Unsupported({ content }: { content: Schemas["UnsupportedContent"] }) {
  return (
    <Card icon={CircleHelp} title={text.content.unsupported(withoutOverrides(content.type))}>
      <details>
        <summary>{text.content.raw}</summary>
        <pre tabIndex={0}>{withoutOverrides(JSON.stringify(content.raw, null, 2))}</pre>
      </details>
    </Card>
  );
}

/** What a message of any type may carry. */
function CommonContent({ content }: { content: Schemas["CommonContent"] }) {
  const { referral, referredProduct, attachments, reason } = content;
  const href = safeHref(string(member(referral, "sourceUrl")));
  return (
    <>
      {referral && (
        <Card icon={Info} title={text.content.referral}>
          <Line>{string(member(referral, "headline"))}</Line>
          <Line>{string(member(referral, "body"))}</Line>
          {href && (
            <p>
              <ExternalLink href={href}>{href}</ExternalLink>
            </p>
          )}
        </Card>
      )}
      {referredProduct && (
        <Card icon={ShoppingBasket} title={text.content.product}>
          {entries(referredProduct).map(([name, value]) => (
            <Line key={name}>{value}</Line>
          ))}
        </Card>
      )}
      {list(attachments)
        .slice(1)
        .map((attachment, index) => (
          <Card key={index} icon={Paperclip} title={text.content.attachment(string(member(attachment, "type")))}>
            <Line>{string(member(attachment, "title"))}</Line>
            <Elsewhere url={string(member(attachment, "url"))} />
          </Card>
        ))}
      {reason && <p className="faint">{text.content.lost(withoutOverrides(reason))}</p>}
    </>
  );
}

/** A message in a few words, for a quote. */
export function summaryOf(message: Message): string {
  if (message.deletedAt) return text.thread.unsent;
  if (message.text) return message.text;
  const { content } = text;
  switch (message.contentType) {
    case "image":
    case "video":
    case "audio":
    case "document":
    case "sticker":
    case "location":
    case "button":
    case "story_reply":
    case "story_mention":
    case "share":
      return content[message.contentType];
    case "call":
      return content.call.unknown;
    default:
      return text.thread.earlier;
  }
}

// What the platforms send is open: read it without believing in its shape.

function member(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[name] : undefined;
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

function string(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function entries(value: unknown): [string, string][] {
  if (typeof value !== "object" || value === null) return [["", String(value)]];
  return Object.entries(value).map(([name, part]) => [name, typeof part === "string" ? part : JSON.stringify(part)]);
}
