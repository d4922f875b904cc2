import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { App } from "./app";
import { loadConfig } from "./config";
import { Session } from "./session";
import { Problem } from "./ui/states";
import { text } from "./text";
import "./styles/index.css";

const root = createRoot(document.getElementById("root") ?? document.body);

try {
  const config = await loadConfig();
  const session = new Session(config);
  await session.start();
  root.render(
    <StrictMode>
      <App config={config} session={session} />
    </StrictMode>,
  );
} catch (error) {
  console.error(error);
  root.render(<Problem message={text.errors.config} onRetry={() => window.location.reload()} />);
}
