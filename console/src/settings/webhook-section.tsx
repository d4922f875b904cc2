import { Check, Copy } from "lucide-react";
import { useState } from "react";
import { useConsole } from "../console-context";
import { text } from "../text";

/** Where 360dialog delivers, and what it must be told. */
export function WebhookSection() {
  const { config } = useConsole();
  const [outcome, setOutcome] = useState<"none" | "copied" | "failed">("none");
  const copy = () =>
    navigator.clipboard.writeText(config.webhookUrl).then(
      () => setOutcome("copied"),
      () => setOutcome("failed"),
    );
  return (
    <section className="webhook" aria-labelledby="webhook-title">
      <h2 id="webhook-title">{text.settings.webhookTitle}</h2>
      <p>{text.settings.webhookLead}</p>
      <label htmlFor="webhook-url">{text.settings.webhookUrl}</label>
      <div className="copy-field">
        <input id="webhook-url" readOnly value={config.webhookUrl} onFocus={(event) => event.target.select()} />
        <button type="button" className="button" onClick={() => void copy()}>
          {outcome === "copied" ? <Check aria-hidden /> : <Copy aria-hidden />}
          {outcome === "copied" ? text.settings.copied : text.settings.copy}
        </button>
      </div>
      <p role="status" className="faint">
        {outcome === "failed" && text.settings.copyFailed}
      </p>
      <p className="faint">{text.settings.webhookHeader}</p>
    </section>
  );
}
