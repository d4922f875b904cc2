import { useMutation } from "@tanstack/react-query";
import { Check, Copy } from "lucide-react";
import { useId, useState } from "react";
import { answer, explain, type Platform } from "../api";
import { useConsole } from "../console-context";
import type { components } from "../openapi";
import { text } from "../text";
import { useIntegrations } from "./queries";

type Webhook = components["schemas"]["Webhook"];

/** Where the provider delivers, and what it must bring: for whoever has to set the webhook by hand. */
export function WebhookSection() {
  const { config, identity } = useConsole();
  const integrations = useIntegrations();
  return (
    <section className="webhook" aria-labelledby="webhook-title">
      <h2 id="webhook-title">{text.settings.webhookTitle}</h2>
      <p>{text.settings.webhookLead}</p>
      <CopyField label={text.settings.webhookUrl} value={config.webhookUrl} />
      <p className="faint">{text.settings.webhookHeader}</p>
      {identity.role === "admin" &&
        integrations.data?.map(({ platform }) => <AccountToken key={platform} platform={platform} />)}
    </section>
  );
}

/** Only when it is asked for: each look stands in the audit trail. */
function AccountToken({ platform }: { platform: Platform }) {
  const { api } = useConsole();
  const show = useMutation({
    mutationFn: (): Promise<Webhook> =>
      answer(api.GET("/api/v1/social-integrations/{platform}/webhook", { params: { path: { platform } } })),
  });
  const name = text.platform[platform];
  if (show.data) return <CopyField label={text.settings.webhookToken(name)} value={show.data.token} />;
  return (
    <p>
      <button type="button" className="button" disabled={show.isPending} onClick={() => show.mutate()}>
        {text.settings.showWebhookToken(name)}
      </button>
      {show.isError && (
        <span className="failure" role="alert">
          {explain(show.error)}
        </span>
      )}
    </p>
  );
}

function CopyField({ label, value }: { label: string; value: string }) {
  const [outcome, setOutcome] = useState<"none" | "copied" | "failed">("none");
  const id = useId();
  const copy = () =>
    navigator.clipboard.writeText(value).then(
      () => setOutcome("copied"),
      () => setOutcome("failed"),
    );
  return (
    <>
      <label htmlFor={id}>{label}</label>
      <div className="copy-field">
        <input id={id} readOnly value={value} onFocus={(event) => event.target.select()} />
        <button type="button" className="button" onClick={() => void copy()}>
          {outcome === "copied" ? <Check aria-hidden /> : <Copy aria-hidden />}
          {outcome === "copied" ? text.settings.copied : text.settings.copy}
        </button>
      </div>
      <p role="status" className="faint">
        {outcome === "failed" && text.settings.copyFailed}
      </p>
    </>
  );
}
