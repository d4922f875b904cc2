import { CircleAlert } from "lucide-react";
import { useRef, useState, type ReactNode } from "react";
import { flushSync } from "react-dom";
import { explain, type Integration, type Platform } from "../api";
import { ChannelIcon } from "../channel-icon";
import { Foreign } from "../plain-text";
import { text } from "../text";
import { dateAndTime, exactTime } from "../time";
import { AccountNotices } from "./account-notices";
import { ConfirmDialog } from "./confirm-dialog";
import { ConnectDialog } from "./connect-dialog";
import { useIntegrationActions } from "./queries";
import { standingOf } from "./standing";
import { StandingBadge } from "./standing-badge";

type Asking = "connect" | "replace" | "updateKey" | "disconnect" | "delete" | null;

interface Props {
  platform: Platform;
  integration: Integration | undefined;
  isAdmin: boolean;
}

export function PlatformCard({ platform, integration, isAdmin }: Props) {
  const [asking, setAsking] = useState<Asking>(null);
  const [outcome, setOutcome] = useState<string | null>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  const actions = useIntegrationActions(platform);
  const name = text.platform[platform];
  const standing = standingOf(integration);
  const done = (sentence: string) => {
    actions.test.reset();
    actions.again.reset();
    // A closing dialog gives the focus back to the button that opened it, and that one may be gone with what was done.
    flushSync(() => setAsking(null));
    heading.current?.focus();
    setOutcome(sentence);
  };
  const test = () => {
    setOutcome(null);
    actions.again.reset();
    actions.test.mutate(undefined, {
      onSuccess: (tested) => setOutcome(outcomeOf(tested)(name)),
    });
  };
  const again = (sentence: string) => {
    setOutcome(null);
    actions.test.reset();
    if (integration) actions.again.mutate(integration, { onSuccess: () => done(sentence) });
  };
  const failed = [actions.test, actions.again].find((action) => action.isError);
  const isBusy = actions.test.isPending || actions.again.isPending;
  return (
    <section className="platform-card" aria-label={name}>
      <header>
        <ChannelIcon channel={platform} />
        <h2 ref={heading} tabIndex={-1}>
          {name}
        </h2>
        <StandingBadge standing={standing} />
      </header>
      {!integration && <p>{text.settings.about[platform]}</p>}
      {/* Above all that a test may change, so that no button moves under the pointer. */}
      {isAdmin && (
        <div className="card-actions">
          {!integration && <Action name="connect" platform={name} isPrimary onClick={() => setAsking("connect")} />}
          {integration?.status === "disconnected" && (
            <>
              <Action
                name="reconnect"
                platform={name}
                isPrimary
                isDisabled={isBusy}
                onClick={() => again(text.settings.done.connected(name))}
              />
              <Action name="replace" platform={name} onClick={() => setAsking("replace")} />
            </>
          )}
          {integration && integration.status !== "disconnected" && (
            <>
              <Action name="test" platform={name} isDisabled={isBusy} onClick={test} />
              <Action
                name="updateKey"
                platform={name}
                isPrimary={standing === "error"}
                onClick={() => setAsking("updateKey")}
              />
              <Action name="disconnect" platform={name} onClick={() => setAsking("disconnect")} />
            </>
          )}
          {integration && <Action name="delete" platform={name} onClick={() => setAsking("delete")} />}
        </div>
      )}
      <p role="status" className="outcome">
        {actions.test.isPending ? text.settings.testing : actions.again.isPending ? text.settings.connecting : outcome}
      </p>
      {failed && (
        <p className="failure" role="alert">
          {explain(failed.error)}
        </p>
      )}
      {integration?.webhookElsewhere ? (
        <div className="notice error">
          <CircleAlert aria-hidden />
          <div>
            <p>{text.settings.webhookElsewhereWhy}</p>
            {isAdmin && (
              <Action
                name="registerWebhook"
                platform={name}
                isDisabled={isBusy}
                onClick={() => again(text.settings.done.registered(name))}
              />
            )}
          </div>
        </div>
      ) : (
        integration?.errorMessage && (
          <p className="notice error">
            <CircleAlert aria-hidden /> {integration.errorMessage}
          </p>
        )
      )}
      {integration?.quietSince && (
        <p className="notice warning">
          <CircleAlert aria-hidden /> {text.settings.quiet(dateAndTime(integration.quietSince))}
        </p>
      )}
      {integration && <Facts integration={integration} />}
      {integration && <AccountNotices notices={integration.notices} />}
      {(asking === "connect" || asking === "replace" || asking === "updateKey") && (
        <ConnectDialog
          platform={platform}
          integration={integration}
          isUpdate={asking === "updateKey"}
          connect={actions.connect}
          onDone={() => done(text.settings.done.connected(name))}
          onClose={() => setAsking(null)}
        />
      )}
      {asking === "disconnect" && (
        <ConfirmDialog
          title={text.settings.confirm.disconnectTitle(name)}
          consequences={text.settings.confirm.disconnect}
          action={text.settings.disconnect}
          mutation={actions.disconnect}
          onDone={() => done(text.settings.done.disconnected(name))}
          onClose={() => setAsking(null)}
        />
      )}
      {asking === "delete" && (
        <ConfirmDialog
          title={text.settings.confirm.deleteTitle(name)}
          consequences={text.settings.confirm.delete}
          action={text.settings.delete}
          mutation={actions.remove}
          onDone={() => done(text.settings.done.deleted(name))}
          onClose={() => setAsking(null)}
        />
      )}
    </section>
  );
}

/** What a test has shown. */
function outcomeOf(integration: Integration): (platform: string) => string {
  const { tested, testedLimited, testedWaiting, testedBad } = text.settings;
  const standing = standingOf(integration);
  if (integration.errorMessage !== null) return testedBad;
  return standing === "connected"
    ? tested
    : standing === "limited"
      ? testedLimited
      : standing === "waiting"
        ? testedWaiting
        : testedBad;
}

interface ActionProps {
  name: "connect" | "reconnect" | "replace" | "registerWebhook" | "test" | "updateKey" | "disconnect" | "delete";
  platform: string;
  isPrimary?: boolean;
  isDisabled?: boolean;
  onClick: () => void;
}

/** A button whose name says which platform it is for, to those who cannot see in which card it is. */
function Action({ name, platform, isPrimary = false, isDisabled = false, onClick }: ActionProps) {
  const kind = isPrimary ? "primary" : name === "delete" ? "danger" : "";
  const label = text.settings[name];
  return (
    <button
      type="button"
      className={`button ${kind}`}
      disabled={isDisabled}
      aria-label={text.settings.named(label, platform)}
      onClick={onClick}
    >
      {label}
    </button>
  );
}

function Facts({ integration }: { integration: Integration }) {
  const { credentials, health, webhookVerified, webhookElsewhere, lastSyncedAt, status, claim } = integration;
  const account = credentials.phoneNumberId ?? credentials.instagramAccountId ?? credentials.facebookPageId;
  const { settings } = text;
  return (
    <dl className="facts">
      {credentials.displayPhoneNumber && (
        <Fact name={settings.number}>
          <Foreign>{credentials.displayPhoneNumber}</Foreign>
        </Fact>
      )}
      <Fact name={settings.account}>
        <Foreign>{account ?? ""}</Foreign>
      </Fact>
      {credentials.wabaId && (
        <Fact name={settings.business}>
          <Foreign>{credentials.wabaId}</Foreign>
        </Fact>
      )}
      {/* What the provider said before nothing could be sent any more would be untrue now. */}
      {status === "connected" && (
        <Fact name={settings.health}>
          <span className="health" data-health={health?.status ?? "unknown"}>
            {health ? settings.healthStatus[health.status] : settings.healthUnknown}
          </span>
          {health?.reasons.map((reason) => (
            <p key={reason} className="faint">
              {reason}
            </p>
          ))}
        </Fact>
      )}
      <Fact name={settings.webhook}>
        {status === "disconnected" ? (
          settings.webhookOff
        ) : webhookElsewhere ? (
          settings.webhookElsewhere
        ) : webhookVerified ? (
          settings.webhookYes
        ) : (
          <>
            {settings.webhookNo}
            <p className="faint">{settings.webhookNoHint}</p>
          </>
        )}
      </Fact>
      {claim === "unproven" && <Fact name={settings.claim}>{settings.claimUnproven}</Fact>}
      <Fact name={settings.lastSynced}>
        {lastSyncedAt ? (
          <time dateTime={lastSyncedAt} title={exactTime(lastSyncedAt)}>
            {dateAndTime(lastSyncedAt)}
          </time>
        ) : (
          settings.never
        )}
      </Fact>
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
