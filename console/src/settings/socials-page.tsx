import { Lock } from "lucide-react";
import { explain, type Platform } from "../api";
import { useConsole } from "../console-context";
import { useFailure } from "../failure";
import { CONTENT_ID, useMenuButton } from "../shell";
import { text } from "../text";
import { Problem, Skeleton } from "../ui/states";
import { PageTitle } from "../unread-badge";
import { PlatformCard } from "./platform-card";
import { useIntegrations } from "./queries";
import { WebhookSection } from "./webhook-section";
import "./socials-page.css";

const PLATFORMS: Platform[] = ["whatsapp", "instagram", "facebook"];

/** Settings > Socials: the accounts of the organization. */
export function SocialsPage() {
  const { identity } = useConsole();
  const menuButton = useMenuButton();
  const integrations = useIntegrations();
  const failure = useFailure(integrations);
  const isAdmin = identity.role === "admin";
  return (
    <main id={CONTENT_ID} className="page" tabIndex={-1}>
      <PageTitle>{text.settings.title}</PageTitle>
      <header className="page-header">
        {menuButton}
        <div>
          <h1>{text.settings.title}</h1>
          <p className="faint">{text.settings.lead}</p>
        </div>
      </header>
      {!isAdmin && (
        <p className="notice">
          <Lock aria-hidden /> {text.settings.readOnly}
        </p>
      )}
      {integrations.isPending && !failure && <Skeleton rows={3} className="card-skeleton" />}
      {failure && (
        <Problem
          message={explain(failure)}
          onRetry={() => void integrations.refetch()}
          isTrying={integrations.isFetching}
        />
      )}
      {integrations.data && (
        <div className="platform-cards">
          {PLATFORMS.map((platform) => (
            <PlatformCard
              key={platform}
              platform={platform}
              integration={integrations.data.find((integration) => integration.platform === platform)}
              isAdmin={isAdmin}
            />
          ))}
        </div>
      )}
      {/* It stands below the cards, and would jump when they take the skeleton's place. */}
      {(integrations.data || failure) && <WebhookSection />}
    </main>
  );
}
