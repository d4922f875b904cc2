import { X } from "lucide-react";
import { useId, useLayoutEffect, useRef, type ReactNode } from "react";
import { text } from "../text";

interface Props {
  title: string;
  /** `alertdialog` asks before something that is hard to undo. */
  role?: "dialog" | "alertdialog";
  onClose: () => void;
  children: ReactNode;
}

/** A window over the page: the browser's own, which keeps the focus inside and gives it back. */
export function Dialog({ title, role = "dialog", onClose, children }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  // Closed while it is still in the page: only then does the browser give the focus back.
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    // The first thing to fill in, or the harmless answer; by itself the browser takes the button that closes.
    element?.querySelector<HTMLElement>("input:not([readonly]), footer button")?.focus();
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      role={role}
      aria-labelledby={heading}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <header>
        <h2 id={heading}>{title}</h2>
        <button type="button" className="icon-button" aria-label={text.close} onClick={onClose}>
          <X aria-hidden />
        </button>
      </header>
      {children}
    </dialog>
  );
}
