import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";
import { firstLoad } from "./first-load.ts";

/** Where the API is while developing: the local system's port. */
const API = process.env["API"] ?? "http://127.0.0.1:3000";

export default defineConfig({
  plugins: [react(), firstLoad({ limitBytes: 200_000 })],
  // Nothing is inlined as a data: URI, since fonts and scripts have to come from files under the Content-Security-Policy.
  build: { target: "es2023", assetsInlineLimit: 0 },
  server: { proxy: { "/api": API, "/local": API, "/config.json": API } },
  test: { include: ["src/**/*.test.{ts,tsx}"] },
});
