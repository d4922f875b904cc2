import { Link } from "react-router";
import { CONTENT_ID } from "./shell";
import { text } from "./text";
import { Empty } from "./ui/states";
import { PageTitle } from "./unread-badge";

export function MissingPage() {
  return (
    <main id={CONTENT_ID} className="page">
      <PageTitle>{text.errors.pageMissing}</PageTitle>
      <Empty title={text.errors.pageMissing} level="h1">
        <Link to="/conversations">{text.errors.toConversations}</Link>
      </Empty>
    </main>
  );
}
