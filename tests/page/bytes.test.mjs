// Spellings and lengths.

import assert from "node:assert/strict";
import { test } from "node:test";

import { fromBase64url, fromHex, paddedLength, toBase64url, toHex, toUint64 } from "../../appliance/gateway/page/bytes.js";

test("base64url goes both ways and has one spelling", () => {
  for (const length of [0, 1, 2, 3, 32, 33]) {
    const bytes = crypto.getRandomValues(new Uint8Array(length));
    assert.equal(toBase64url(bytes), Buffer.from(bytes).toString("base64url"));
    assert.deepEqual(fromBase64url(toBase64url(bytes)), bytes);
  }
  for (const wrong of ["A", "AA==", "A+", "A/", "AB", "Ä", "AA AA"]) assert.throws(() => fromBase64url(wrong), RangeError);
});

test("hexadecimal goes both ways and has one spelling", () => {
  assert.equal(toHex(fromHex("00ff10", 3)), "00ff10");
  for (const wrong of ["00FF10", "00ff1", "00ff1g", "00ff1000"]) assert.throws(() => fromHex(wrong, 3), RangeError);
});

test("a number becomes eight big-endian bytes", () => {
  assert.equal(toHex(toUint64(2 ** 40 + 5)), "0000010000000005");
});

test("padded lengths are Padme's, past the range of bit operators too", () => {
  const padme = (length) => {
    if (length < 2n) return length;
    const exponent = BigInt(length.toString(2).length - 1);
    const kept = BigInt(exponent.toString(2).length);
    const mask = (1n << (exponent - kept)) - 1n;
    return (length + mask) & ~mask;
  };
  for (const length of [0, 1, 2, 3, 8, 9, 100, 65480, 65481, 1e6, 2 ** 29 + 1, 2 ** 31, 2 ** 33 + 12345]) {
    assert.equal(paddedLength(length), Number(padme(BigInt(length))), String(length));
  }
});
