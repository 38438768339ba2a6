/**
 * Traces of a client, with OpenTelemetry: one for each call, publication and
 * event, from the click to the callee's function. It uses what the application
 * has set up of `@opentelemetry/api`, and does nothing if that is nothing.
 *
 * @packageDocumentation
 */
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, context, propagation, trace, type Attributes, type Context, type Span, type Tracer } from '@opentelemetry/api';
import type { CoreClient } from './api.js';
import type { JugglerEvent, RequestOptions } from './types.js';

/** Options of {@link traced}. */
export interface TracedOptions {
  /** What makes the spans. Default: the global one of the name `@juggler-go/client`. */
  tracer?: Tracer;
}

/**
 * The client, traced: what is called, streamed and published through the
 * object that this returns has a span, a child of the active one, whose context
 * travels in the headers; handlers of subscriptions run in a span of their own
 * where the publication has one. Everything else is the client's.
 *
 * ```ts
 * const client = traced(new Client<App>('wss://example.com/ws'));
 * ```
 *
 * It does not touch the client, which may be used untraced beside it.
 */
export function traced<T extends CoreClient<any>>(client: T, { tracer = trace.getTracer('@juggler-go/client') }: TracedOptions = {}): T {
  const request = <O extends RequestOptions, R>(name: string, kind: SpanKind, attributes: Attributes, options: O | undefined, send: (options: O | undefined) => Promise<R>): Promise<R> => {
    const span = tracer.startSpan(name, { kind, attributes });
    const parts = (options as { _parts?: Counted } | undefined)?._parts;
    const end = (): void => {
      if (parts) span.setAttributes({ 'juggler.call.stream': true, 'juggler.call.parts': parts._came });
      span.end();
    };
    return send(withContext(trace.setSpan(context.active(), span), options)).then(
      (result) => {
        end();
        return result;
      },
      (error: unknown) => {
        fail(span, error);
        end();
        throw error;
      },
    );
  };
  const hear = (handler: Handler) => (event: JugglerEvent): void => {
    const from = eventContext(event);
    if (!trace.getSpanContext(from)) return handler(event);
    const span = tracer.startSpan('process', { kind: SpanKind.CONSUMER, attributes: messaging('process', event.channel) }, from);
    try {
      context.with(trace.setSpan(from, span), handler, undefined, event);
    } catch (error) {
      fail(span, error);
      throw error;
    } finally {
      span.end();
    }
  };
  const call = (uri: string, args?: unknown, options?: RequestOptions): Promise<unknown> => {
    const attributes = { 'rpc.system.name': 'juggler', 'rpc.method': uri };
    return request(uri, SpanKind.CLIENT, attributes, options, (all) => (client.call as Send)(uri, args, all));
  };
  const publish = (channel: string, args: unknown, options?: RequestOptions): Promise<unknown> =>
    request('publish', SpanKind.PRODUCER, messaging('publish', channel), options, (all) => (client.publish as Send)(channel, args, all));
  const subscribe = (...all: unknown[]): unknown =>
    (client.subscribe as (...all: unknown[]) => unknown)(...all.map((one) => (typeof one === 'function' ? hear(one as Handler) : one)));
  // A client's methods are its own wherever it is kept, so it can be what is inherited from.
  return Object.create(client, { call: { value: call }, publish: { value: publish }, subscribe: { value: subscribe } }) as T;
}

/**
 * The context of the publication that an event is of, for `context.with` and
 * links of spans: what loops over events (`for await`) need. The event's
 * headers say what the publisher likes, unless its server traces.
 */
export function eventContext(event: JugglerEvent): Context {
  return propagation.extract(ROOT_CONTEXT, event.headers ?? {});
}

type Send = (name: string, args: unknown, options: RequestOptions | undefined) => Promise<unknown>;
type Handler = (event: JugglerEvent) => void;

/** What of an answer in parts is counted. */
interface Counted {
  readonly _came: number;
}

/** Options with the headers that carry a context, in place of any of the same name. */
function withContext<O extends RequestOptions>(from: Context, options: O | undefined): O | undefined {
  const carrier: Record<string, string> = {};
  propagation.inject(from, carrier);
  if (!Object.keys(carrier).length) return options;
  const own = Object.entries(options?.headers ?? {}).filter(([name]) => !(name.toLowerCase() in carrier));
  return { ...options, headers: { ...Object.fromEntries(own), ...carrier } } as O;
}

const messaging = (operation: string, channel: string): Attributes => ({
  'messaging.system': 'juggler',
  'messaging.operation.name': operation,
  'messaging.operation.type': operation === 'publish' ? 'send' : operation,
  'messaging.destination.name': channel,
});

/** Says in a span what went wrong: for who asks, every failure is an error. */
function fail(span: Span, error: unknown): void {
  const { code, name, message } = Object(error) as { code?: unknown; name?: unknown; message?: unknown };
  if (name === 'JugglerError') span.setAttributes({ 'rpc.response.status_code': String(code), 'error.type': String(code) });
  else span.setAttribute('error.type', String(name ?? '_OTHER'));
  span.setStatus({ code: SpanStatusCode.ERROR, message: String(message ?? error) });
}
