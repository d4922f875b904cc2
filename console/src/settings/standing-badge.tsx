import { CircleAlert, CircleCheck, CircleDashed, CircleEllipsis, CirclePause, type LucideIcon } from "lucide-react";
import { text } from "../text";
import type { Standing } from "./standing";

const ICONS: Record<Standing, LucideIcon> = {
  connected: CircleCheck,
  limited: CircleAlert,
  waiting: CircleEllipsis,
  blocked: CircleAlert,
  elsewhere: CircleAlert,
  disconnected: CirclePause,
  error: CircleAlert,
  none: CircleDashed,
};

export function StandingBadge({ standing }: { standing: Standing }) {
  const Icon = ICONS[standing];
  return (
    <p className="state" data-standing={standing}>
      <Icon aria-hidden /> {text.settings.state[standing]}
    </p>
  );
}
