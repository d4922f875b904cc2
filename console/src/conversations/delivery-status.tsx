import { Check, CheckCheck, CircleHelp, Clock3, TriangleAlert, type LucideIcon } from "lucide-react";
import type { Message, MessageStatus } from "../api";
import { text } from "../text";
import { exactTime } from "../time";

const ICONS: Record<MessageStatus, LucideIcon> = {
  sending: Clock3,
  unknown: CircleHelp,
  unconfirmed: CircleHelp,
  assumed: Check,
  accepted: Check,
  sent: Check,
  failed: TriangleAlert,
  delivered: CheckCheck,
  read: CheckCheck,
};

/** Where an outbound message stands, in an icon and in words; its history on hover. */
export function DeliveryStatus({ message: { status, statusHistory } }: { message: Message }) {
  if (!status) return null;
  const Icon = ICONS[status];
  const history = statusHistory.map((step) => `${text.thread.status[step.status]}: ${exactTime(step.timestamp)}`);
  return (
    <span className="delivery" data-status={status} title={history.join("\n")}>
      <Icon aria-hidden /> {text.thread.status[status]}
    </span>
  );
}
