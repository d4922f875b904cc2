import { MessagesSquare } from "lucide-react";
import { useState } from "react";
import type { Session } from "./session";
import { text } from "./text";

type Reason = "none" | "expired" | "failed" | "noOrganization" | "noRole";

export function SignInPage({ session, reason }: { session: Session; reason: Reason }) {
  const [isLeading, setIsLeading] = useState(false);
  const isSignedIn = reason === "noOrganization" || reason === "noRole";
  const signIn = async () => {
    setIsLeading(true);
    await session.signIn();
    setIsLeading(false);
  };
  return (
    <main className="sign-in">
      <title>{text.signIn.title}</title>
      <div className="sign-in-card">
        <MessagesSquare className="sign-in-logo" aria-hidden />
        <h1>{text.product}</h1>
        <p>{text.signIn.lead}</p>
        {reason !== "none" && (
          <p className="notice warning" role="alert">
            {text.signIn[reason]}
          </p>
        )}
        {isSignedIn ? (
          <button type="button" className="button primary" onClick={() => void session.signOut()}>
            {text.account.signOut}
          </button>
        ) : (
          <button type="button" className="button primary" disabled={isLeading} onClick={() => void signIn()}>
            {isLeading ? text.signIn.leading : text.signIn.button}
          </button>
        )}
      </div>
    </main>
  );
}
