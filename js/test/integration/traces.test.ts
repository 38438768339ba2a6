// One trace from a page in a real browser, through a server, to the callee's function.
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { text } from 'node:stream/consumers';
import { build } from 'esbuild';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { launch } from '../support/launch.js';

const root = join(import.meta.dirname, '../..');

/** A span as OTLP has it in JSON. */
interface Exported {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
}

/** What a page would do that uses both packages. */
const application = `
  import { propagation, trace } from '@opentelemetry/api';
  import { W3CTraceContextPropagator } from '@opentelemetry/core';
  import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
  import { Client } from './dist/index.js';
  import { traced } from './dist/otel.js';
  const exporter = new InMemorySpanExporter();
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  window.click = async (url) => {
    await using client = traced(new Client(url));
    await client.call('test.echo', 'hello');
    return exporter.getFinishedSpans().map((span) => span.spanContext());
  };`;

let folder: string;
let browser: Browser;
let collector: Server;
let demo: ChildProcess;
let url: string;
const exported: Exported[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'juggler-js-traces-'));
  const command = join(folder, 'juggler');
  execFileSync('go', ['build', '-o', command, '.'], { cwd: join(root, '../cmd/juggler'), stdio: 'inherit' });
  browser = await launch();
  collector = createServer(async (request, response) => {
    const lower = (key: string, value: unknown): unknown => (key.endsWith('Id') ? String(value).toLowerCase() : value); // hex, in whichever case
    const { resourceSpans } = JSON.parse(await text(request), lower) as { resourceSpans: { scopeSpans: { spans: Exported[] }[] }[] };
    exported.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap(({ spans }) => spans)));
    response.setHeader('Content-Type', 'application/json').end('{}');
  }).listen(0, '127.0.0.1');
  await once(collector, 'listening');
  demo = spawn(command, ['demo', '--listen', '127.0.0.1:0'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: {
      PATH: process.env['PATH'],
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${(collector.address() as AddressInfo).port}`,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
      OTEL_METRICS_EXPORTER: 'none', // which are not JSON
      OTEL_BSP_SCHEDULE_DELAY: '20',
    },
  });
  [url] = (await once(createInterface(demo.stdout!), 'line')) as [string];
});
afterAll(async () => {
  demo.kill('SIGTERM');
  await once(demo, 'exit');
  await browser.close();
  collector.close();
  rmSync(folder, { recursive: true, force: true });
});

it('a click is one trace to the function', async () => {
  const { outputFiles } = await build({ stdin: { contents: application, resolveDir: root }, bundle: true, write: false, format: 'iife', target: 'es2022' });
  const page = await browser.newPage();
  await page.addScriptTag({ content: outputFiles[0]!.text });
  const [client] = await page.evaluate((url) => (window as unknown as { click(url: string): Promise<Exported[]> }).click(url), url);
  await expect.poll(() => exported.length).toBe(2);
  const inTrace = { traceId: client!.traceId, name: 'test.echo' };
  const node = exported.find(({ parentSpanId }) => parentSpanId === client!.spanId);
  expect(node).toMatchObject(inTrace);
  expect(exported.find(({ parentSpanId }) => parentSpanId === node!.spanId)).toMatchObject(inTrace);
});
