// A broken transfer goes on where it broke; a withdrawn share does not.

import assert from "node:assert/strict";
import { afterEach, test } from "node:test";

import { Gone, Unreachable, fetchSealed } from "../../appliance/gateway/page/server.js";
import { gather } from "./vectors.mjs";

const whole = crypto.getRandomValues(new Uint8Array(1000));
const document = { file: "55".repeat(16), sealedLength: whole.length };
const realFetch = globalThis.fetch;
afterEach(() => {
  globalThis.fetch = realFetch;
});

/** Serves `whole` from the asked place, breaking after each of `breaks` bytes; then status 404 if `gone`. */
function serve(breaks, { gone = false } = {}) {
  const asked = [];
  globalThis.fetch = async (_, { headers }) => {
    const from = Number(/\d+/.exec(headers.Range ?? "bytes=0")[0]);
    asked.push(from);
    const length = breaks.shift();
    if (length === undefined && gone) return new Response(null, { status: 404 });
    const body = new ReadableStream({
      start(controller) {
        controller.enqueue(whole.slice(from, length === undefined ? whole.length : from + length));
        if (length === undefined) controller.close();
      },
      pull(controller) {
        controller.error(new TypeError("network"));
      },
    });
    return new Response(body, { status: from > 0 ? 206 : 200 });
  };
  return asked;
}

const ways = { wait: async () => undefined };

test("a broken transfer is resumed where it broke, and the person is told", async () => {
  const asked = serve([300, 200]);
  const told = [];
  const told_ways = { ...ways, onBreak: () => told.push("broken"), onFlow: () => told.push("flowing") };
  assert.deepEqual(await gather(fetchSealed("00", document, told_ways)), whole);
  assert.deepEqual(asked, [0, 300, 500]);
  assert.deepEqual(told, ["broken", "flowing", "broken", "flowing"]);
});

test("a share withdrawn during the transfer is gone, and nothing is tried again", async () => {
  const asked = serve([300], { gone: true });
  await assert.rejects(gather(fetchSealed("00", document, ways)), Gone);
  assert.deepEqual(asked, [0, 300]);
});

test("a dead connection is given up after five attempts", async () => {
  let calls = 0;
  globalThis.fetch = async () => {
    calls += 1;
    throw new TypeError("network");
  };
  await assert.rejects(gather(fetchSealed("00", document, ways)), Unreachable);
  assert.equal(calls, 6);
});

test("a whole answer where a part was asked for is not believed", async () => {
  globalThis.fetch = async (_, { headers }) =>
    headers.Range ? new Response(whole, { status: 200 }) : new Response(whole.slice(0, 10), { status: 200 });
  await assert.rejects(gather(fetchSealed("00", document, ways)), Unreachable);
});
