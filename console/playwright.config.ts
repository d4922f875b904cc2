import { defineConfig, devices } from "@playwright/test";

/** One that is installed: no browser is downloaded. */
const CHROMIUM = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

const isRoot = process.getuid?.() === 0;
const args = ["--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update"];

export default defineConfig({
  testDir: "e2e",
  // One system, one browser at a time: a machine that is busy with others' tests tells nothing about smoothness.
  workers: 1,
  timeout: 60_000,
  expect: { timeout: 10_000 },
  forbidOnly: Boolean(process.env["CI"]),
  reporter: [["list"]],
  use: {
    ...devices["Desktop Chrome"],
    viewport: { width: 1440, height: 900 },
    // What people are told does not depend on where the tests run.
    locale: "en-GB",
    timezoneId: "Europe/Berlin",
    actionTimeout: 15_000,
    navigationTimeout: 15_000,
    trace: "retain-on-failure",
    launchOptions: { executablePath: CHROMIUM, args: isRoot ? [...args, "--no-sandbox"] : args },
  },
  projects: [
    { name: "console", testMatch: "*.spec.ts" },
    // Not a test: makes the pictures of the documents.
    { name: "screenshots", testMatch: "screenshots.ts" },
  ],
});
