import { Link } from "react-router";
import { CONTENT_ID } from "./shell";
import { text } from "./text";
import { Empty } from "./ui/states";

export function MissingPage() {
  return (
    <main id={CONTENT_ID} className="page">
      <Empty title={text.errors.pageMissing} level="h1">
        <Link to="/conversations">{text.errors.toConversations}</Link>
      </Empty>
    </main>
  );
}
