import { CircleAlert, LoaderCircle } from "lucide-react";
import type { ReactNode } from "react";
import { text } from "../text";

export function Loading({ label = text.loading }: { label?: string }) {
  return (
    <p className="loading" role="status">
      <LoaderCircle className="spinning" aria-hidden /> {label}
    </p>
  );
}

interface ProblemProps {
  message: string;
  onRetry?: () => void;
  /** Another attempt is under way. */
  isTrying?: boolean;
}

/** Something failed, and what can be done. */
export function Problem({ message, onRetry, isTrying = false }: ProblemProps) {
  return (
    <div className="problem" role="alert">
      {isTrying ? <LoaderCircle className="spinning" aria-hidden /> : <CircleAlert aria-hidden />}
      <p>{message}</p>
      {onRetry && (
        <button type="button" className="button" onClick={onRetry}>
          {text.tryAgain}
        </button>
      )}
    </div>
  );
}

interface EmptyProps {
  title: string;
  /** `h1` where there is nothing else on the page. */
  level?: "h1" | "h2";
  children?: ReactNode;
}

/** Nothing is here, and what to do next. */
export function Empty({ title, level: Heading = "h2", children }: EmptyProps) {
  return (
    <div className="empty">
      <Heading>{title}</Heading>
      {children}
    </div>
  );
}

/** Grey bars in the place of what is on its way. */
export function Skeleton({ rows, className }: { rows: number; className: string }) {
  return (
    <div className="skeletons" role="status" aria-label={text.loading}>
      {Array.from({ length: rows }, (_, index) => (
        <div key={index} className={`skeleton ${className}`} />
      ))}
    </div>
  );
}
