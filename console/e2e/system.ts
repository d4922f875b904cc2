import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
/** Where cargo has put the local system and the functions; whoever runs the tests builds them before. */
const BINARIES = process.env["BINARIES"] ?? path.join(ROOT, "target/debug");

/** Where everything is, as the ready line says. */
interface Ready {
  console: string;
  customer: string;
  api: string;
  webhook: string;
  provider: string;
}

/** The whole local system, with a data folder of its own. */
export class System {
  private constructor(
    readonly urls: Ready,
    private readonly process: ChildProcess,
    private readonly data: string,
    private readonly flags: string[],
  ) {}

  static async start(...flags: string[]): Promise<System> {
    const data = await mkdtemp(path.join(tmpdir(), "console-e2e-"));
    return System.run(data, "0", flags);
  }

  private static async run(data: string, port: string, flags: string[]): Promise<System> {
    const args = ["--json", "--port", port, "--data", data, "--binaries", BINARIES, ...flags];
    const child = spawn(path.join(BINARIES, "local"), args, { cwd: ROOT, stdio: ["ignore", "pipe", "inherit"] });
    for await (const line of createInterface({ input: child.stdout })) {
      return new System(JSON.parse(line) as Ready, child, data, flags);
    }
    throw new Error("the local system did not start; what it says is above");
  }

  /** Stops it as Ctrl-C does, and starts it again at the same address, with the same data. */
  async restart(): Promise<System> {
    await this.end();
    return System.run(this.data, new URL(this.urls.api).port, this.flags);
  }

  async stop(): Promise<void> {
    await this.end();
    await rm(this.data, { recursive: true });
  }

  private async end(): Promise<void> {
    if (this.process.exitCode !== null) return;
    this.process.kill("SIGTERM");
    await once(this.process, "exit");
  }

  /** A control of the simulator, such as `settings`. */
  async simulate<T = unknown>(control: string, body?: object): Promise<T> {
    const url = `${this.urls.provider}/simulate/${control}`;
    const response = await fetch(url, body ? { method: "POST", body: JSON.stringify(body) } : {});
    if (!response.ok) throw new Error(`${control}: ${response.status} ${await response.text()}`);
    return (await response.json()) as T;
  }
}
