import { Link } from "react-router";
import { text } from "./text";
import { Empty } from "./ui/states";

export function MissingPage() {
  return (
    <main id="content" className="page">
      <Empty title={text.errors.pageMissing}>
        <Link to="/conversations">{text.errors.toConversations}</Link>
      </Empty>
    </main>
  );
}
