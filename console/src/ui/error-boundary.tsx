import { Component, type ReactNode } from "react";
import { text } from "../text";
import { Problem } from "./states";

/** Stands in for a page that broke, such as one whose script a newer version of the console has replaced. */
export class ErrorBoundary extends Component<{ children: ReactNode }, { isBroken: boolean }> {
  override state = { isBroken: false };

  static getDerivedStateFromError() {
    return { isBroken: true };
  }

  override render() {
    if (!this.state.isBroken) return this.props.children;
    return <Problem message={text.errors.unexpected} onRetry={() => window.location.reload()} />;
  }
}
