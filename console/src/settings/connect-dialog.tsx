import type { UseMutationResult } from "@tanstack/react-query";
import { useId, useState } from "react";
import { explain, type Integration, type Platform } from "../api";
import { text } from "../text";
import { Dialog } from "../ui/dialog";
import { fieldOf, FIELDS, isOptional, problemsOf, type Field, type Problems, type Values } from "./credentials";
import type { Credentials } from "./queries";

interface Props {
  platform: Platform;
  integration: Integration | undefined;
  /** The account stays, only its key is replaced. */
  isUpdate: boolean;
  connect: UseMutationResult<Integration>;
  onDone: () => void;
  onClose: () => void;
}

export function ConnectDialog({ platform, integration, isUpdate, connect, onDone, onClose }: Props) {
  const [values, setValues] = useState<Values>(() => known(platform, integration));
  const [problems, setProblems] = useState<Problems>({});
  const { form } = text.settings;
  const name = text.platform[platform];
  const refused = connect.isError ? fieldOf(platform, connect.error) : null;

  const submit = (element: HTMLFormElement) => {
    const found = problemsOf(platform, values);
    setProblems(found);
    connect.reset();
    const first = FIELDS[platform].find((field) => found[field]);
    if (first) {
      focusField(element, first);
      return;
    }
    connect.mutate(credentials(platform, values), {
      onSuccess: onDone,
      onError: (error) => {
        const field = fieldOf(platform, error);
        if (field) focusField(element, field);
      },
    });
  };

  return (
    <Dialog title={isUpdate ? form.updateTitle(name) : form.title(name)} onClose={onClose}>
      <form
        noValidate
        autoComplete="off"
        onSubmit={(event) => {
          event.preventDefault();
          submit(event.currentTarget);
        }}
      >
        {FIELDS[platform].map((field) => (
          <CredentialField
            key={field}
            field={field}
            platform={platform}
            value={values[field] ?? ""}
            isFixed={isUpdate && field === FIELDS[platform][0]}
            problem={problems[field] ?? (refused === field ? explain(connect.error) : undefined)}
            onChange={(value) => {
              setValues({ ...values, [field]: value });
              setProblems({ ...problems, [field]: undefined });
              if (refused === field) connect.reset();
            }}
          />
        ))}
        {connect.isError && !refused && (
          <p className="failure" role="alert">
            {explain(connect.error)}
          </p>
        )}
        <footer>
          <button type="button" className="button" onClick={onClose}>
            {text.cancel}
          </button>
          <button type="submit" className="button primary" disabled={connect.isPending}>
            {connect.isPending ? form.submitting : isUpdate ? form.updateSubmit : form.submit}
          </button>
        </footer>
      </form>
    </Dialog>
  );
}

interface FieldProps {
  field: Field;
  platform: Platform;
  value: string;
  isFixed: boolean;
  problem: string | undefined;
  onChange: (value: string) => void;
}

function CredentialField({ field, platform, value, isFixed, problem, onChange }: FieldProps) {
  const id = useId();
  const { form } = text.settings;
  const isKey = field === "apiKey";
  const help = isKey ? `${form.apiKeyHelp[platform]} ${form.apiKeyStored}` : form[`${field}Help`];
  return (
    <div className="field">
      <label htmlFor={id}>
        {form[field]} {isOptional(field) && <span className="faint">({form.optional})</span>}
      </label>
      <input
        id={id}
        name={field}
        // A password manager should not offer to keep it, nor fill in the person's own.
        type={isKey ? "password" : "text"}
        autoComplete={isKey ? "new-password" : "off"}
        spellCheck={false}
        value={value}
        readOnly={isFixed}
        aria-invalid={problem !== undefined}
        aria-describedby={`${id}-help ${id}-problem`}
        onChange={(event) => onChange(event.target.value)}
      />
      <p id={`${id}-help`} className="faint">
        {help}
      </p>
      <p id={`${id}-problem`} className="failure" role="alert">
        {problem}
      </p>
    </div>
  );
}

/** What is known of the account already; never its key. */
function known(platform: Platform, integration: Integration | undefined): Values {
  const values = FIELDS[platform].map((field) => [field, field === "apiKey" ? "" : integration?.credentials[field]]);
  return Object.fromEntries(values.filter(([, value]) => typeof value === "string")) as Values;
}

function credentials(platform: Platform, values: Values): Credentials {
  const filled = FIELDS[platform].map((field) => [field, values[field]?.trim() ?? ""] as const);
  return Object.fromEntries(filled.filter(([, value]) => value !== ""));
}

function focusField(form: HTMLFormElement, field: Field): void {
  form.querySelector<HTMLInputElement>(`[name="${field}"]`)?.focus();
}
