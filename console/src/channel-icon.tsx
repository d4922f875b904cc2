import { Camera, Globe, Inbox, MessageCircle, MessagesSquare, Phone, Share2, type LucideIcon } from "lucide-react";
import type { Conversation } from "./api";
import type { ChannelFilter } from "./conversations/filter";

const ICONS: Record<ChannelFilter, LucideIcon> = {
  website: Globe,
  whatsapp: MessageCircle,
  instagram: Camera,
  facebook: MessagesSquare,
  phone: Phone,
  social: Share2,
};

/** The channel as the sidebar tells it apart. */
export function channelOf(conversation: Pick<Conversation, "channel" | "metadata">): ChannelFilter {
  return conversation.metadata.platform ?? conversation.channel;
}

/** A channel's sign; whoever uses it says the name beside it. */
export function ChannelIcon({ channel }: { channel: ChannelFilter | null }) {
  const Icon = channel ? ICONS[channel] : Inbox;
  return (
    <span className="channel-icon" data-channel={channel ?? "all"} aria-hidden>
      <Icon />
    </span>
  );
}
