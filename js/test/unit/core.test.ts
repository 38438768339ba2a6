// The core: the same client, without what an application may do without.
import { describe, expect, it, vi } from 'vitest';
import { Client, CoreClient, JugglerError, type CoreOptions } from '../../src/index.js';
import { Script } from '../support/script.js';

describe('the core', () => {
  const script = (): Script => new Script();

  it('connects, calls, publishes, subscribes and closes', async () => {
    const play = script();
    const client = new CoreClient('ws://test/', play.options);
    expect(Object.keys(client)).toEqual([]);
    const { call, publish, subscribe } = client;
    const handler = vi.fn();
    const subscription = subscribe('c', handler);
    play.socket.hello().ack('SUB').say({ type: 'EVNT', id: '1', channel: 'c', args: 1 });
    expect(handler).toHaveBeenCalledExactlyOnceWith(expect.objectContaining({ args: 1 }));
    const result = call('a', [1], { headers: { tenant: 'x' } });
    expect(play.socket.last('CALL')).toMatchObject({ uri: 'a', args: [1], headers: { tenant: 'x' } });
    play.socket.say({ type: 'RES', for: play.socket.last('CALL')['id'], args: 'answer' });
    expect(await result).toBe('answer');
    const published = publish('c', undefined);
    expect(play.socket.last('PUB')).toEqual({ type: 'PUB', id: expect.any(String), channel: 'c' });
    play.socket.ack('PUB');
    await published;
    subscription.unsubscribe();
    await published;
    expect(play.socket.all('UNSB')).toHaveLength(1);
    await client.close();
    await expect(call('a')).rejects.toSatisfy(JugglerError.is);
  });

  it('has no loops, no promise of subscriptions and no sign-in', () => {
    const play = script();
    const client = new CoreClient('ws://test/', { ...play.options, auth: () => 'token' } as CoreOptions);
    const subscription = client.subscribe('c', () => {});
    play.socket.hello();
    expect('next' in subscription || 'ready' in subscription).toBe(false);
    expect(play.socket.all('AUTH')).toEqual([]);
    expect(client).not.toBeInstanceOf(Client);
    expect(new Client('ws://test/')).toBeInstanceOf(CoreClient);
  });

  it('moves without a gap, and connects at once when the network is back', async () => {
    vi.useFakeTimers();
    const network = new EventTarget();
    vi.stubGlobal('addEventListener', network.addEventListener.bind(network));
    vi.stubGlobal('removeEventListener', network.removeEventListener.bind(network));
    const play = script();
    const client = new CoreClient('ws://test/', { ...play.options, backoff: { min: 20_000 } });
    const [handler, onGap] = [vi.fn(), vi.fn()];
    client.subscribe('c', { onGap }, handler);
    const old = play.socket.hello().ack('SUB');
    old.say({ type: 'GOAWAY', after: 0 });
    await vi.advanceTimersByTimeAsync(0);
    play.socket.hello({ session: 's2' }).ack('SUB');
    for (const socket of [old, play.socket]) socket.say({ type: 'EVNT', id: '1', channel: 'c', args: 1 });
    expect(old.all('UNSB')).toHaveLength(1);
    expect(handler).toHaveBeenCalledTimes(1);
    expect(onGap).not.toHaveBeenCalled();
    play.socket.drop();
    network.dispatchEvent(new Event('online'));
    expect(play.sockets).toHaveLength(3);
    await client.close();
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });
});
