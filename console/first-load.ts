import { gzipSync } from "node:zlib";
import type { Plugin } from "vite";

/** Fails the build when the script that the first page needs is larger, compressed, than people should wait for. */
export function firstLoad({ limitBytes }: { limitBytes: number }): Plugin {
  return {
    name: "first-load",
    generateBundle(_, bundle) {
      const chunks = Object.values(bundle).filter((file) => file.type === "chunk");
      const needed = new Set(chunks.filter((chunk) => chunk.isEntry).map((chunk) => chunk.fileName));
      for (const name of needed) {
        chunks.find((chunk) => chunk.fileName === name)?.imports.forEach((imported) => needed.add(imported));
      }
      const sizes = chunks.filter((chunk) => needed.has(chunk.fileName)).map((chunk) => gzipSync(chunk.code).length);
      const total = sizes.reduce((sum, size) => sum + size, 0);
      if (total > limitBytes) {
        this.error(
          `the first load is ${total} bytes of compressed script, more than ${limitBytes}: load something later`,
        );
      }
      this.info(`first load: ${total} of ${limitBytes} bytes of compressed script`);
    },
  };
}
