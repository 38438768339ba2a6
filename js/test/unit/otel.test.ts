// Traces of a client, with the real SDK: which spans there are, and what travels.
import { SpanKind, SpanStatusCode, context, propagation, trace, type Context } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Client, stream, withKey } from '../../src/index.js';
import { eventContext, traced } from '../../src/otel.js';
import { MockServer, type CallContext } from '../../src/testing.js';

const exporter = new InMemorySpanExporter();
const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
const tracer = provider.getTracer('test');
let server: MockServer;
let plain: Client;
let client: Client;

beforeAll(() => {
  trace.setGlobalTracerProvider(provider);
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
});
afterAll(() => {
  trace.disable();
  context.disable();
  propagation.disable();
});
beforeEach(() => {
  exporter.reset();
  server = new MockServer()
    .handle('headers', (_: unknown, { headers }: CallContext) => headers)
    .handle('wrong', () => {
      throw Object.assign(new Error('not a number'), { code: 422 });
    })
    .handle('count', async function* (last: unknown) {
      for (let n = 1; n <= Number(last); n++) yield n;
    });
  plain = new Client('ws://mock', { WebSocket: server.WebSocket, logger: () => {} });
  client = traced(plain);
});
afterEach(() => plain.close());

const spans = (): ReadableSpan[] => exporter.getFinishedSpans();
const only = (): ReadableSpan => {
  expect(spans()).toHaveLength(1);
  return spans()[0]!;
};
const header = ({ traceId, spanId }: { traceId: string; spanId: string }): string => `00-${traceId}-${spanId}-01`;

/** Runs in a span of the application. */
async function click<T>(f: () => Promise<T>): Promise<[T, Context]> {
  const within = trace.setSpan(context.active(), tracer.startSpan('click'));
  return [await context.with(within, f), within];
}

describe('a call', () => {
  it('is a span below the active one, and its context travels', async () => {
    const [got, within] = await click(() => client.call('headers', 1, { headers: { own: 'x', TraceParent: 'evil' } }));
    const span = only();
    expect(span).toMatchObject({
      name: 'headers',
      kind: SpanKind.CLIENT,
      parentSpanContext: { spanId: trace.getSpanContext(within)!.spanId },
      attributes: { 'rpc.system.name': 'juggler', 'rpc.method': 'headers' },
      status: { code: SpanStatusCode.UNSET },
    });
    expect(got).toEqual({ own: 'x', traceparent: header(span.spanContext()) });
  });

  it('that fails says so, and rejects as ever', async () => {
    const error = await client.call('wrong').catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: 'JugglerError', code: 422 });
    expect(only()).toMatchObject({
      attributes: { 'rpc.response.status_code': '422', 'error.type': '422' },
      status: { code: SpanStatusCode.ERROR, message: expect.stringContaining('not a number') },
    });
  });

  it('that is given up says why', async () => {
    const signal = AbortSignal.abort(new DOMException('enough', 'AbortError'));
    await expect(client.call('headers', 1, { signal })).rejects.toThrow('enough');
    expect(only()).toMatchObject({ attributes: { 'error.type': 'AbortError' }, status: { code: SpanStatusCode.ERROR, message: 'enough' } });
  });

  it('with a key is one, too', async () => {
    expect(await client.call('headers', 1, withKey('k'))).toEqual({ traceparent: header(only().spanContext()) });
  });

  it('in parts says how many came', async () => {
    const got: unknown[] = [];
    for await (const part of stream(client, 'count', 3)) got.push(part);
    expect(got).toEqual([1, 2, 3]);
    expect(only()).toMatchObject({ name: 'count', attributes: { 'juggler.call.stream': true, 'juggler.call.parts': 3 } });
  });

  it('through the client itself is none', async () => {
    expect(await plain.call('headers')).toEqual({});
    expect(spans()).toEqual([]);
  });
});

describe('an event', () => {
  it('is handled in the trace of its publication', async () => {
    const active = new Promise((resolve) => {
      client.subscribe('news', () => resolve(trace.getSpanContext(context.active())?.spanId));
    });
    await client.publish('news', 1);
    const [, own] = [await active, spans()];
    const [publication, handled] = ['publish', 'process'].map((name) => own.find((span) => span.name === name)!);
    expect(publication).toMatchObject({ kind: SpanKind.PRODUCER, attributes: { 'messaging.destination.name': 'news', 'messaging.operation.type': 'send' } });
    expect(handled).toMatchObject({
      kind: SpanKind.CONSUMER,
      parentSpanContext: { spanId: publication!.spanContext().spanId },
      attributes: { 'messaging.destination.name': 'news', 'messaging.operation.name': 'process' },
    });
    expect(await active).toBe(handled!.spanContext().spanId);
  });

  it('of a publication without one is handled without', async () => {
    const got: unknown[] = [];
    await client.subscribe('news', ({ args }) => void got.push(args)).ready;
    server.publish('news', 1);
    server.publish('news', 2, { traceparent: 'evil' });
    await expect.poll(() => got).toEqual([1, 2]);
    expect(spans()).toEqual([]);
  });

  it('has its context in a loop', async () => {
    const events = client.subscribe('news');
    await events.ready;
    server.publish('news', 1, { traceparent: header({ traceId: '1'.repeat(32), spanId: '2'.repeat(16) }) });
    const { value } = await events.next();
    expect(trace.getSpanContext(eventContext(value))).toMatchObject({ spanId: '2'.repeat(16), isRemote: true });
  });
});

describe('the traced client', () => {
  it('is the client in everything else', async () => {
    client.connect();
    await expect.poll(() => client.state.status).toBe('open');
    expect(client.state).toBe(plain.state);
    const { call } = client;
    await expect(call('headers')).resolves.toBeTruthy();
    await client.drained();
    await client.close();
    expect(plain.state.status).toBe('closed');
  });

  it('does nothing where nothing is set up', async () => {
    trace.disable();
    propagation.disable();
    try {
      const untraced = traced(plain);
      expect(await untraced.call('headers', 1, { headers: { own: 'x' } })).toEqual({ own: 'x' });
      await untraced.publish('news', 1);
      expect(server.published[0]!.headers).toBeUndefined();
      expect(spans()).toEqual([]);
    } finally {
      trace.setGlobalTracerProvider(provider);
      propagation.setGlobalPropagator(new W3CTraceContextPropagator());
    }
  });
});
