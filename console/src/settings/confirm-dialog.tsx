import type { UseMutationResult } from "@tanstack/react-query";
import { explain } from "../api";
import { text } from "../text";
import { Dialog } from "../ui/dialog";

interface Props<T> {
  title: string;
  /** What will and what won't happen. */
  consequences: readonly string[];
  action: string;
  mutation: UseMutationResult<T, Error, void>;
  onDone: () => void;
  onClose: () => void;
}

export function ConfirmDialog<T>({ title, consequences, action, mutation, onDone, onClose }: Props<T>) {
  return (
    <Dialog title={title} role="alertdialog" onClose={onClose}>
      <ul className="consequences">
        {consequences.map((consequence) => (
          <li key={consequence}>{consequence}</li>
        ))}
      </ul>
      {mutation.isError && (
        <p className="failure" role="alert">
          {explain(mutation.error)}
        </p>
      )}
      <footer>
        <button type="button" className="button" onClick={onClose}>
          {text.cancel}
        </button>
        <button
          type="button"
          className="button danger"
          disabled={mutation.isPending}
          onClick={() => mutation.mutate(undefined, { onSuccess: onDone })}
        >
          {action}
        </button>
      </footer>
    </Dialog>
  );
}
