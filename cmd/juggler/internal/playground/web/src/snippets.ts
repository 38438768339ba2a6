import type { CallRequest } from './calls.js';
import { toWire, type Message } from './juggler0.js';
import type { SubscribeRequest } from './subscriptions.js';

/** What somebody did. */
export type Action =
  | ({ readonly kind: 'call' } & CallRequest)
  | ({ readonly kind: 'subscribe' } & SubscribeRequest)
  | { readonly kind: 'publish'; readonly channel: string; readonly args: unknown };

/** Where it was done. */
export interface Place {
  readonly url: string;
  readonly protocol: string;
  /** Whether with a token. The snippets read it from the environment: they are passed on. */
  readonly token: boolean;
}

export const languages = { TypeScript: typescript, Go: go, wscat } as const;

const quote = (text: string): string => JSON.stringify(text);
const json = (value: unknown): string => (value === undefined ? '' : JSON.stringify(value));

function indent(text: string, by: string): string {
  return text.replace(/^(?=.)/gm, by);
}

/** An object literal of those that are given, or nothing. */
function options(pairs: Record<string, string | false | undefined>): string {
  const given = Object.entries(pairs).filter(([, value]) => value);
  return given.length > 0 ? `{ ${given.map(([name, value]) => `${name}: ${value as string}`).join(', ')} }` : '';
}

/** TypeScript, as a module for a browser or Node from 22 on. */
export function typescript(action: Action, { url, protocol, token }: Place): string {
  const [names, code] = typescriptOf(action);
  const settings = token ? ', { auth: () => process.env.TOKEN }' : '';
  const note = protocol === 'juggler.1' ? '' : '// This client speaks juggler.1 only.\n';
  return `${note}import { ${['Client', ...names].join(', ')} } from '@juggler-go/client';

const client = new Client(${quote(url)}${settings});

${code}
`;
}

function typescriptOf(action: Action): [imports: string[], code: string] {
  if (action.kind === 'publish') {
    return [[], `await client.publish(${quote(action.channel)}, ${json(action.args) || 'undefined'});\nawait client.close();`];
  }
  if (action.kind === 'subscribe') {
    const { channel, pattern, last, here } = action;
    const given = options({ pattern: pattern && 'true', last: last > 0 && `${last}` });
    const code = `client.subscribe(${quote(channel)}${given && `, ${given}`}, ({ channel, args }) => {
  console.log(channel, args);
});`;
    if (!here) return [[], code];
    return [['members'], `${code}\nconst there = members(client, ${quote(channel)}, () => {\n  console.log(there.members ?? there.count);\n});`];
  }
  const { uri, args, parts, timeout, key } = action;
  const names = [...(parts === undefined ? [] : ['stream']), ...(key ? ['withKey'] : [])];
  let given = options({ timeout: `${timeout}`, parts: parts === undefined ? undefined : `${parts}` });
  if (key) given = `withKey(${quote(key)}, ${given})`;
  const rest = `${quote(uri)}, ${json(args) || 'undefined'}, ${given}`;
  if (parts === undefined) return [names, `console.log(await client.call(${rest}));\nawait client.close();`];
  return [
    names,
    `const answer = stream(client, ${rest});
for await (const part of answer) console.log(part);
console.log(await answer.result);
await client.close();`,
  ];
}

/** Go, as a program. */
export function go(action: Action, { url, protocol, token }: Place): string {
  const zero = protocol === 'juggler.0';
  const imports = ['context', 'fmt', 'log', ...goImports(action), ...(token ? ['os'] : [])].sort();
  const ours = ['client', ...(zero ? ['frame'] : [])];
  const given = [quote(url)];
  if (zero) given.push('client.WithProtocols(frame.Juggler0)');
  if (token) given.push('client.WithToken(func(context.Context) (string, error) {\n	return os.Getenv("TOKEN"), nil\n})');
  const body = `ctx := context.Background()
c, err := client.Dial(ctx, ${given.join(', ')})
if err != nil {
	log.Fatal(err)
}
defer c.Close()

${goOf(action)}`;
  return `package main

import (
${imports.map((name) => `	"${name}"`).join('\n')}

${ours.map((name) => `	"github.com/juggler-go/juggler/${name}"`).join('\n')}
)

func main() {
${indent(body, '\t')}
}
`;
}

function goImports(action: Action): string[] {
  if (action.kind === 'subscribe') return [];
  const ofCall = action.kind === 'call' ? ['time'] : [];
  return action.kind === 'call' || action.args !== undefined ? ['encoding/json', ...ofCall] : ofCall;
}

/** Args as Go passes them on. */
function goArgs(args: unknown): string {
  const text = json(args);
  if (!text) return 'nil';
  return `json.RawMessage(${text.includes('`') ? quote(text) : `\`${text}\``})`;
}

const fatal = (call: string): string => `if err := ${call}; err != nil {\n	log.Fatal(err)\n}`;

function goOf(action: Action): string {
  if (action.kind === 'publish') {
    return `${fatal(`c.Publish(ctx, ${quote(action.channel)}, ${goArgs(action.args)})`)}\nfmt.Println("published")`;
  }
  if (action.kind === 'subscribe') return goSubscribe(action);
  const { uri, args, parts, timeout, key } = action;
  const given = [`client.WithTimeout(${timeout}*time.Millisecond)`];
  if (key) given.push(`client.Key(${quote(key)})`);
  if (parts === undefined) {
    return `var result json.RawMessage
${fatal(`c.Call(ctx, ${quote(uri)}, ${goArgs(args)}, &result, ${given.join(', ')})`)}
fmt.Println(string(result))`;
  }
  given.push(`client.Window(${parts})`);
  return `answer, err := c.Stream(ctx, ${quote(uri)}, ${goArgs(args)}, ${given.join(', ')})
if err != nil {
	log.Fatal(err)
}
for part, err := range client.PartsAs[json.RawMessage](answer) {
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(part))
}
var result json.RawMessage
${fatal('answer.Result(ctx, &result)')}
fmt.Println(string(result))`;
}

function goSubscribe({ channel, pattern, last, here }: SubscribeRequest): string {
  const given = [quote(channel)];
  if (pattern) given.push('client.Pattern()');
  if (last > 0) given.push(`client.Last(${last})`);
  if (here) given.push('client.WithHere()');
  const follow = `go func() { // ends with the subscription
	for change, err := range sub.HereChanges(ctx) {
		fmt.Println(change, err)
	}
}()
`;
  return `sub, err := c.Subscribe(ctx, ${given.join(', ')})
if err != nil {
	log.Fatal(err)
}
${here ? follow : ''}for event, err := range sub.Events(ctx) {
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(event.Channel, string(event.Args))
}`;
}

/** wscat, and what to type once it is connected. */
export function wscat(action: Action, { url, protocol, token }: Place): string {
  const lines = [`wscat -s ${protocol} -c '${url.replaceAll("'", "'\\''")}'`];
  if (token) lines.push('{"type":"AUTH","id":"1","token":"…"}');
  const request = requestOf(action);
  lines.push(JSON.stringify(protocol === 'juggler.0' ? toWire(request, '00000000-0000-4000-8000-000000000002') : request));
  return lines.join('\n> ') + '\n';
}

function requestOf(action: Action): Message {
  const id = '2';
  if (action.kind === 'publish') return { type: 'PUB', id, channel: action.channel, args: action.args };
  if (action.kind === 'call') {
    const { uri, args, timeout, parts, key } = action;
    return { type: 'CALL', id, uri, args, timeout, ...{ parts, key } };
  }
  const { channel, pattern, last, here } = action;
  return { type: 'SUB', id, channel, ...(pattern && { pattern }), ...(last && { last }), ...(here && { here }) };
}
