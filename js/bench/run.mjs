// The client beside centrifuge-js and socket.io-client, each with its own
// server: node run.mjs [ROUNDS [SECONDS]]. Rounds are interleaved (A B C A B
// C …), as absolute figures drift: compare those of one run.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const [rounds = 5, seconds = 3] = process.argv.slice(2).map(Number);
process.chdir(fileURLToPath(new URL('.', import.meta.url)));

const folder = mkdtempSync(join(tmpdir(), 'juggler-js-bench-'));
const binary = join(folder, 'server');
execFileSync(process.execPath, ['../scripts/build.mjs'], { stdio: 'inherit' });
execFileSync('go', ['build', '-o', binary, './server'], { stdio: 'inherit' });

const servers = {
  juggler: [binary, '-peer', 'juggler'],
  centrifuge: [binary, '-peer', 'centrifuge'],
  'socket.io': [process.execPath, 'server/socketio.mjs'],
};
const scenarios = ['calls, 1 in flight', 'calls, 64 in flight', 'events'];
const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const version = (name) => JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')).version;

async function measure(peer, scenario) {
  const [command, ...args] = servers[peer];
  const server = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  const [url] = await once(createInterface(server.stdout), 'line');
  const output = execFileSync(process.execPath, ['client.mjs', peer, scenario, url, String(seconds)], { encoding: 'utf8' });
  server.stdin.end();
  await once(server, 'exit');
  return JSON.parse(output);
}

const results = {};
for (const scenario of scenarios) {
  for (let round = 0; round < rounds; round++) {
    for (const peer of Object.keys(servers)) {
      const result = await measure(peer, scenario);
      ((results[scenario] ??= {})[peer] ??= []).push(result);
      process.stderr.write(`${scenario}, round ${round + 1}: ${peer} ${Math.round(result.rate)}/s, ${result.cpu.toFixed(1)} µs\n`);
    }
  }
}
rmSync(folder, { recursive: true });

console.log(`Node ${process.versions.node}, ${cpus().length} cores, medians of ${rounds} rounds of ${seconds} s, interleaved.`);
console.log(`centrifuge-js ${version('centrifuge')}, socket.io-client ${version('socket.io-client')}, ws ${version('ws')}.\n`);
console.log('| messages a second (µs of CPU of the client a message) | juggler | centrifuge-js | socket.io-client |');
console.log('| --- | --- | --- | --- |');
for (const scenario of scenarios) {
  const cells = Object.values(results[scenario]).map(
    (runs) => `${Math.round(median(runs.map(({ rate }) => rate))).toLocaleString('en')} (${median(runs.map(({ cpu }) => cpu)).toFixed(1)})`,
  );
  console.log(`| ${scenario} | ${cells.join(' | ')} |`);
}
