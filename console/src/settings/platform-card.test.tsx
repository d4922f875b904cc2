// @vitest-environment jsdom
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { cleanup, render, screen } from "@testing-library/react";
import { afterEach, expect, it } from "vitest";
import { ConsoleContext, type Console } from "../console-context";
import { integration } from "../testing/examples";
import { text } from "../text";
import { dateAndTime } from "../time";
import { PlatformCard } from "./platform-card";

afterEach(cleanup);

function card(shown: Parameters<typeof integration>[0]) {
  const console = { identity: { role: "admin", user: "ann" }, api: {} };
  render(
    <ConsoleContext value={console as unknown as Console}>
      <QueryClientProvider client={new QueryClient()}>
        <PlatformCard platform="whatsapp" integration={integration(shown)} isAdmin />
      </QueryClientProvider>
    </ConsoleContext>,
  );
}

const SINCE = "2026-11-20T09:00:00.000Z";

it("tells since when nothing has come, and what to do", () => {
  card({ quietSince: SINCE });
  expect(screen.getByText(text.settings.quiet(dateAndTime(SINCE)))).toBeTruthy();
  expect(
    screen.getByRole("button", { name: text.settings.named(text.settings.test, text.platform.whatsapp) }),
  ).toBeTruthy();
});

it("is silent where the silence is not unusual", () => {
  card({ quietSince: null });
  expect(screen.queryByText(/Nothing has come/)).toBeNull();
});
