// usage: node specification.mjs ws://HOST:PORT TRANSACTION STORAGE_KEY PREFIX
// papi's client of the JSON-RPC interface specification: chainHead with its operations, archive, and
// a broadcast. Prints what it got as one JSON object on the last line.
import { createClient } from '@polkadot-api/substrate-client';
import { getWsProvider } from '@polkadot-api/ws-provider';
import WebSocket from 'ws';

const [url, transaction, key, prefix] = process.argv.slice(2);
const client = createClient(getWsProvider(url, { websocketClass: WebSocket }));
const outcome = async (promise) => promise.then(() => 'answered', (error) => error.name ?? error.constructor.name);
const events = [];
const waiting = [];
const next = (type) => new Promise((resolve) => {
  const found = events.find((event) => event.type === type && !event.seen);
  if (found) { found.seen = true; resolve(found); } else { waiting.push({ type, resolve }); }
});
const follow = client.chainHead(true, (event) => {
  const index = waiting.findIndex(({ type }) => type === event.type);
  if (index >= 0) { event.seen = true; waiting.splice(index, 1)[0].resolve(event); }
  events.push(event);
}, (error) => { throw error; });

const initialized = await next('initialized');
const pinned = initialized.finalizedBlockHashes.at(-1);
const spec = await client.getChainSpecData();
const collect = (subscribe) => new Promise((resolve, reject) => {
  const items = [];
  let discarded = 0;
  subscribe((item) => items.push(...[item].flat()), reject, () => resolve({ discarded, items }), (count) => { discarded = count; });
});
const inputs = [{ key, type: 'value' }, { key, type: 'hash' }, { key: prefix, type: 'descendantsHashes' }];
const head = {
  header: await follow.header(pinned),
  body: await follow.body(pinned),
  version: await follow.call(pinned, 'Core_version', ''),
  unknownCall: await outcome(follow.call(pinned, 'Nope_nope', '')),
  unknownBlock: await outcome(follow.header('0x' + 'ab'.repeat(32))),
  value: await follow.storage(pinned, 'value', key, null),
  hash: await follow.storage(pinned, 'hash', key, null),
  merkle: await follow.storage(pinned, 'closestDescendantMerkleValue', prefix, null),
  accounts: (await follow.storage(pinned, 'descendantsValues', prefix, null)).length,
  subscription: await collect((...callbacks) => follow.storageSubscription(pinned, inputs, null, ...callbacks))
};
const stop = client.transaction(transaction, (error) => { throw error; });
// The node makes a block now and then without any transaction.
const before = [];
let block = await next('newBlock');
let newBody = await follow.body(block.blockHash);
while (!newBody.includes(transaction)) {
  before.push(block.blockHash);
  block = await next('newBlock');
  newBody = await follow.body(block.blockHash);
}
const best = await next('bestBlockChanged');
let final = await next('finalized');
while (!final.finalizedBlockHashes.includes(block.blockHash)) final = await next('finalized');
stop();
await follow.unpin([pinned]);
head.unpinned = await outcome(follow.body(pinned));

const numberOf = async (hash) => Number((await client.request('chain_getHeader', [hash])).number);
head.height = await numberOf(pinned);
const height = await numberOf(block.blockHash);
const finalized = await client.archive.finalizedHeight();
const [hash] = await client.archive.hashByHeight(height);
const archive = {
  height, finalized, hash,
  above: await client.archive.hashByHeight(height + 1_000),
  header: await client.archive.header(hash),
  body: await client.archive.body(hash),
  version: await client.archive.call(hash, 'Core_version', ''),
  unknownCall: await outcome(client.archive.call(hash, 'Nope_nope', '')),
  unknownBlock: await outcome(client.archive.body('0x' + 'ab'.repeat(32))),
  value: await client.archive.storage(hash, 'value', key, null),
  accounts: (await client.archive.storage(hash, 'descendantsHashes', prefix, null)).length,
  subscription: await collect((...callbacks) => client.archive.storageSubscription(hash, inputs, null, ...callbacks))
};
const methods = (await client.request('rpc_methods', [])).methods;
follow.unfollow();
console.log(JSON.stringify({ initialized, before, spec, head, block, best, final, newBody, archive, methods }));
client.destroy();
process.exit(0);
