// The page opens exactly what the box seals: the same vectors as tests/formats.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Tampered, Truncated, openDocument, openSegments } from "../../appliance/gateway/page/envelope.js";
import { gather, hex, inChunks, readVectors, sha256 } from "./vectors.mjs";

for (const vector of readVectors("envelope_stream")) {
  test(`stream ${vector.name} is ${vector.outcome}`, async () => {
    const { sealed } = vector;
    const opened = gather(openSegments(inChunks(sealed), hex(vector.key), hex(vector.associated_data), sealed.length));
    if (vector.outcome !== "ok") return assert.rejects(opened, Tampered);
    const plaintext = await opened;
    assert.equal(plaintext.length, vector.plaintext_length);
    assert.equal(await sha256(plaintext), vector.plaintext_sha256);
  });
}

for (const vector of readVectors("envelope_document")) {
  const document = {
    id: hex(vector.document),
    key: hex(vector.key),
    name: vector.document_name,
    mediaType: vector.media_type,
    length: vector.length,
    sealedLength: vector.sealed.length,
  };
  test(`document ${vector.name} is ${vector.outcome}`, async () => {
    const opened = gather(openDocument(inChunks(vector.sealed), document, hex(vector.box)));
    if (vector.outcome !== "ok") return assert.rejects(opened, Tampered);
    assert.equal(await sha256(await opened), vector.content_sha256);
  });
}

const [vector] = readVectors("envelope_stream").filter(({ name }) => name === "three_segments");

test("a file that ends early is truncated, not tampered: the transfer may go on", async () => {
  const short = inChunks(vector.sealed.subarray(0, 70000));
  const opened = openSegments(short, hex(vector.key), hex(vector.associated_data), vector.sealed.length);
  await assert.rejects(gather(opened), Truncated);
});

test("no byte of a changed segment leaves", async () => {
  const changed = vector.sealed.slice();
  changed[65536 + 10] ^= 1;
  const given = [];
  const opened = openSegments(inChunks(changed), hex(vector.key), hex(vector.associated_data), changed.length);
  await assert.rejects(async () => {
    for await (const piece of opened) given.push(piece.length);
  }, Tampered);
  assert.deepEqual(given, [65480]);
});
