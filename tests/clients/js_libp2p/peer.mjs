// A node of js-libp2p beside ours: node peer.mjs TOPIC [ADDRESS]
// Dials the address where one is given, else waits to be dialled. Prints a line for each thing that
// worked, publishes its word until it is stopped, and ends with its input.

import './promises.mjs'

import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

const [topic, address] = process.argv.slice(2)
const REQUEST = '/openledger/request/1'
const LENGTH_BYTES = 4

const node = await createLibp2p({
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), ping: ping(), pubsub: gossipsub() }
})

function frame (content) {
  const framed = new Uint8Array(LENGTH_BYTES + content.length)
  new DataView(framed.buffer).setUint32(0, content.length, true)
  framed.set(content, LENGTH_BYTES)
  return framed
}

async function readFrame (stream) {
  const parts = []
  let size = 0
  for await (const part of stream) {
    parts.push(part.subarray())
    size += part.byteLength
    if (size < LENGTH_BYTES) continue
    const all = Buffer.concat(parts)
    const end = LENGTH_BYTES + all.readUInt32LE(0)
    if (size >= end) return all.subarray(LENGTH_BYTES, end)
  }
  throw new Error('the stream ended within a frame')
}

async function ask (peer) {
  const stream = await node.dialProtocol(peer, REQUEST)
  stream.send(frame(new TextEncoder().encode('a hundred kilobytes')))
  const answer = await readFrame(stream)
  console.log(`answer ${answer[0]} ${answer.length - 1}`)
}

node.services.pubsub.addEventListener('message', (event) => {
  console.log(`heard ${new TextDecoder().decode(event.detail.data)}`)
})
node.services.pubsub.subscribe(topic)
setInterval(() => {
  node.services.pubsub.publish(topic, new TextEncoder().encode('hello from js')).catch(() => {})
}, 200)

node.addEventListener('peer:connect', async ({ detail: peer }) => {
  console.log(`connected ${peer}`)
  console.log(`ping ${await node.services.ping.ping(peer)}`)
  await ask(peer)
})

console.log(`listening ${node.getMultiaddrs()[0]}`)
if (address !== undefined) await node.dial(multiaddr(address))
process.stdin.on('end', () => process.exit(0)).resume()
