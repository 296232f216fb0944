// A peer from a third implementation: @chainsafe/libp2p-yamux, over one TCP connection.
//
// server PORT: dial, be the yamux server, send every stream's bytes back; print how many streams ended and were reset.
// client PORT STREAMS BYTES: dial, be the yamux client, open STREAMS streams at once, write BYTES bytes on each and
// end writing, read until the end, compare; reset one more stream; ping; print how many were equal.
import { createHash } from 'node:crypto'
import net from 'node:net'
import { yamux } from '@chainsafe/libp2p-yamux'

const [role, port, streams, length] = process.argv.slice(2)
const log = Object.assign(() => {}, { error: () => {}, trace: () => {}, enabled: false })
const socket = net.connect(Number(port), '127.0.0.1')
socket.on('error', () => {}) // the muxer is told by the end of its source
const counts = { ended: 0, reset: 0, equal: 0 }

async function echo (stream) {
  try {
    await stream.sink(stream.source)
    counts.ended++
  } catch {
    counts.reset++
  }
}

const muxer = yamux({ enableKeepAlive: false })({ logger: { forComponent: () => log } }).createStreamMuxer({
  direction: role === 'client' ? 'outbound' : 'inbound',
  onIncomingStream: echo
})

async function send () {
  for await (const frame of muxer.source) {
    if (socket.destroyed) return
    if (!socket.write(frame.subarray())) {
      await new Promise(resolve => socket.once('drain', resolve).once('close', resolve))
    }
  }
  socket.end()
}

function * pieces (seed) {
  for (let offset = 0; offset < Number(length); offset += 65536) {
    const block = createHash('sha512').update(`${seed} ${offset}`).digest()
    yield Buffer.alloc(Math.min(65536, Number(length) - offset), block)
  }
}

async function exchange (seed) {
  const stream = await muxer.newStream()
  const [sent, came] = [createHash('sha256'), createHash('sha256')]
  const outgoing = (function * () {
    for (const piece of pieces(seed)) {
      sent.update(piece)
      yield piece
    }
  })()
  const writing = stream.sink(outgoing)
  for await (const piece of stream.source) came.update(piece.subarray())
  await writing
  if (sent.digest('hex') === came.digest('hex')) counts.equal++
}

const sending = send()
const receiving = muxer.sink(socket)
if (role === 'client') {
  await Promise.all(Array.from({ length: Number(streams) }, (_, seed) => exchange(seed)))
  const dropped = await muxer.newStream()
  dropped.abort(new Error('dropped'))
  await muxer.ping()
  await muxer.close()
}
await Promise.allSettled([sending, receiving])
console.log(JSON.stringify(counts))
process.exit()
