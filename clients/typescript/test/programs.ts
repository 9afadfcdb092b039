// Real services for the tests, in processes of their own.
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { TestContext } from "node:test";

import { connectBus, connectState, type Bus, type ConnectOptions, type State } from "../src/index.js";

/** Milliseconds that tests wait for what must happen: only a test that fails waits for so long. */
export const PATIENCE = 60_000;

const SILENT = { info: () => undefined, error: () => undefined };

/** The interpreter that has the services: TRUNKLINE_PYTHON, or the checkout's own. */
function python(): string {
  const own = join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "../../../../.venv/bin/python");
  const named = process.env["TRUNKLINE_PYTHON"] ?? own;
  if (!existsSync(named)) {
    throw new Error(`no Python with the services at ${named}: run make install, or set TRUNKLINE_PYTHON`);
  }
  return named;
}

/** Waits until something holds, and says what did not. */
export async function eventually(check: () => void | Promise<void>): Promise<void> {
  for (const ends = performance.now() + PATIENCE; ;) {
    try {
      return await check();
    } catch (error) {
      if (performance.now() > ends) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}

/** A service in a process of its own. */
export class Program {
  address = "127.0.0.1:0";
  private process: ChildProcess | undefined;

  constructor(private readonly command: readonly string[]) {}

  /** Returns when it serves. Started again, it serves at the same address. */
  async start(): Promise<this> {
    const [program = "", ...words] = [...this.command, "--address", this.address];
    this.process = spawn(program, words, { stdio: ["pipe", "ignore", "pipe"] });
    const lines = createInterface({ input: this.process.stderr! });
    this.address = await new Promise<string>((resolve, reject) => {
      lines.on("line", (line) => {
        const said = line.startsWith("{") ? JSON.parse(line) as { event?: string; address?: string } : {};
        if (said.event === "ready") {
          resolve(said.address!);
        }
      });
      lines.once("close", () => reject(new Error(`${this.command.join(" ")} ended before it served`)));
    });
    return this;
  }

  /** Ends it with SIGKILL. */
  async kill(): Promise<void> {
    const ending = this.process;
    this.process = undefined;
    if (ending !== undefined && ending.exitCode === null && ending.signalCode === null) {
      await new Promise((resolve) => {
        ending.once("exit", resolve);
        ending.kill("SIGKILL");
      });
    }
  }
}

/** Starts a bus or a state service, and ends it with the test. */
export async function start(t: TestContext, name: "bus" | "state", ...options: string[]): Promise<Program> {
  const program = new Program([python(), "-m", "trunklined", name, "--log-format", "json", "--end-with-stdin", ...options]);
  t.after(() => program.kill());
  return program.start();
}

export async function folder(t: TestContext): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), "trunkline-"));
  t.after(() => rm(made, { recursive: true }));
  return made;
}

/** Returns options with which everybody may do what tests do, within limits such as "streams = 1". */
export async function limited(t: TestContext, ...limits: string[]): Promise<string[]> {
  const file = join(await folder(t), "access.toml");
  const rights = ["publish", "subscribe", "request", "respond"].map((right) => `${right} = [">"]`);
  const records = ["read", "write"].map((right) => `records.${right} = ["*/*"]`);
  const allow = ["[[allow]]", 'who = ["anonymous"]', ...rights, ...records, 'inspect = ["stats"]'];
  await writeFile(file, [...allow, "[[limit]]", 'who = ["*"]', ...limits, ""].join("\n"), { mode: 0o600 });
  return ["--engine", "memory", "--access-file", file];
}

export async function bus(t: TestContext, address: string, options: ConnectOptions = {}): Promise<Bus> {
  const made = await connectBus(address, { connectTimeout: PATIENCE, log: SILENT, ...options });
  t.after(() => made.close({ timeout: 1000 }).catch(() => undefined)); // a test may have closed it
  return made;
}

export async function state(t: TestContext, address: string): Promise<State> {
  const made = await connectState(address, { connectTimeout: PATIENCE, log: SILENT });
  t.after(() => made.close());
  return made;
}
