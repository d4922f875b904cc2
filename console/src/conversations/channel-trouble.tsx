import { TriangleAlert } from "lucide-react";
import { Link } from "react-router";
import { useConsole } from "../console-context";
import { useIntegrations } from "../settings/queries";
import { troubleOf } from "../settings/standing";
import { text } from "../text";

/** Says which channels cannot send or do not receive. Below the list, so that nothing moves when it comes. */
export function ChannelTrouble() {
  const { identity } = useConsole();
  const integrations = useIntegrations();
  const troubles = (integrations.data ?? []).flatMap((integration) => {
    const trouble = troubleOf(integration);
    return trouble ? [{ platform: integration.platform, sentence: text.list.trouble[trouble] }] : [];
  });
  return (
    <div className="channel-trouble" role="status">
      {troubles.map(({ platform, sentence }) => (
        <p key={platform}>
          <TriangleAlert aria-hidden />
          <span>{sentence(text.platform[platform])}</span>
        </p>
      ))}
      {troubles.length > 0 &&
        (identity.role === "admin" ? (
          <Link to="/settings/socials">{text.composer.notConnected.admin}</Link>
        ) : (
          <p>{text.list.troubleForOperators}</p>
        ))}
    </div>
  );
}
