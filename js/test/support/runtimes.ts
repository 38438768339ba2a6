// The runtimes that test/runtimes/package.json names, each with a way to run a
// task in it: the suite of test/runtimes/suite.mjs, with what it prints.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import type { Failure } from './failures.js';
import { installed } from './installed.js';

/** What the suite is told. */
export interface Task {
  server: string;
  failures: Failure[];
}

/** What a client saw of a failure. */
export interface Met {
  name: string;
  answer: string;
  states: string[];
  code?: number;
  message?: string;
  cause?: string;
}

/** What came out of the suite. */
export interface Outcome {
  worked: unknown;
  met: Met[];
}

const folder = join(import.meta.dirname, '../runtimes');

/** Runs the suite in a runtime with a command line. */
async function runCommand(command: string[], task: Task & { ws?: boolean }): Promise<Outcome> {
  const [program, ...args] = [...command, join(folder, 'run.mjs')];
  const env = { ...process.env, TASK: JSON.stringify(task), NODE_NO_WARNINGS: '1', DENO_NO_UPDATE_CHECK: '1' };
  const { stdout } = await promisify(execFile)(program!, args, { env });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as Outcome;
}

const node = (version: number): string => installed(`node${version}-${process.platform}-${process.arch}/bin/node`);

const CONFIG = `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "suite", worker = (modules = [(name = "worker", esModule = embed "worker.js")], compatibilityDate = "2025-06-01")),
    (name = "internet", network = (allow = ["local"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "suite")],
);`;

/** A worker in workerd, the runtime of Cloudflare Workers. */
export class Worker {
  url = '';
  #folder = mkdtempSync(join(tmpdir(), 'juggler-js-workerd-'));
  #stop = (): void => {};

  async start(): Promise<this> {
    const { outputFiles } = await build({ entryPoints: [join(folder, 'worker.mjs')], bundle: true, format: 'esm', write: false });
    writeFileSync(join(this.#folder, 'worker.js'), outputFiles[0]!.contents);
    writeFileSync(join(this.#folder, 'config.capnp'), CONFIG);
    const child = spawn(installed('.bin/workerd'), ['serve', 'config.capnp', '--control-fd=3'], {
      cwd: this.#folder,
      stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    });
    this.#stop = () => child.kill('SIGKILL');
    const [line] = await once(createInterface(child.stdio[3] as NodeJS.ReadableStream), 'line');
    this.url = `http://127.0.0.1:${(JSON.parse(line as string) as { port: number }).port}`;
    return this;
  }

  async ask(path: string, body: unknown = {}): Promise<any> {
    const response = await fetch(this.url + path, { method: 'POST', body: JSON.stringify(body) });
    if (!response.ok) throw new Error(await response.text());
    return response.json();
  }

  stop(): void {
    this.#stop();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function runWorker(task: Task): Promise<Outcome> {
  const worker = await new Worker().start();
  try {
    return (await worker.ask('/suite', task)) as Outcome;
  } finally {
    worker.stop();
  }
}

/** How the suite is run in each. */
export const runtimes: Record<string, (task: Task) => Promise<Outcome>> = {
  'Node 20 with ws': (task) => runCommand([node(20)], { ...task, ws: true }),
  'Node 22': (task) => runCommand([node(22)], task),
  'Node 22 with ws': (task) => runCommand([node(22)], { ...task, ws: true }),
  'Node 24': (task) => runCommand([node(24)], task),
  'Node 24 with ws': (task) => runCommand([node(24)], { ...task, ws: true }),
  'Bun': (task) => runCommand([installed('.bin/bun')], task),
  'Deno': (task) => runCommand([installed('.bin/deno'), 'run', '--allow-all'], task),
  'workerd': runWorker,
};
