// The link and the manifest.

import assert from "node:assert/strict";
import { test } from "node:test";

import { join, toBase64url, toHex, toUint64 } from "../../appliance/gateway/page/bytes.js";
import { Tampered } from "../../appliance/gateway/page/envelope.js";
import { openManifest } from "../../appliance/gateway/page/manifest.js";
import { LinkMalformed, derive, readShareLink } from "../../appliance/gateway/page/share_link.js";
import { hex } from "./vectors.mjs";

const secret = hex("00".repeat(31) + "07");
const link = await readShareLink(toBase64url(join(hex("01"), secret)));
const share = { k1: link.k1, r: hex("22".repeat(32)), box: "33".repeat(16), locator: link.locator, expiresAt: 1800000000 };
const entry = {
  id: "44".repeat(16),
  file: "55".repeat(16),
  key: toBase64url(hex("66".repeat(32))),
  name: "befund.pdf",
  title: "Befund",
  kind: "finding",
  media_type: "application/pdf",
  length: 5,
  sealed_length: 120,
  sha256: "77".repeat(32),
};

async function seal(manifest, changes = {}) {
  const { k1, r, box, locator, expiresAt } = { ...share, ...changes };
  const raw = await derive(join(k1, r), "praxissafe share 1 manifest", 32);
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt"]);
  const iv = crypto.getRandomValues(new Uint8Array(12));
  const additionalData = join("praxissafe manifest 1\0", hex(box), hex(locator), toUint64(expiresAt));
  const text = join(JSON.stringify(manifest).padEnd(600));
  return join(iv, new Uint8Array(await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData }, key, text)));
}

test("the three values of a link are those of RFC 5869", () => {
  // python: HKDF(SHA256(), length, salt=None, info=b"praxissafe share 1 " + label).derive(bytes(31) + b"\7")
  assert.equal(link.locator, "964aa3ef3b19c3b88ff6dc77687de2d0");
  assert.equal(toHex(Buffer.from(link.proof, "base64url")), "1d5daae87d34099592ce3b7daea932ddb2b7621b168b06d9fb19c1218fac1a8a");
  assert.equal(toHex(link.k1), "d6c13f80ee23e6d8435e1091f81b1196da4ec8a4560833602c73e0eef28e7799");
});

test("a link that is cut off, of another version or oddly spelled is malformed", async () => {
  const whole = toBase64url(join(hex("01"), secret));
  const other = toBase64url(join(hex("02"), secret));
  for (const wrong of ["", whole.slice(0, -1), `${whole}A`, other, `${whole}=`, ` ${whole}`, whole.replace("A", "+")]) {
    await assert.rejects(readShareLink(wrong), LinkMalformed, wrong);
  }
});

test("a manifest opens with both halves of its key", async () => {
  const [document] = await openManifest(await seal({ version: 1, documents: [entry] }), share);
  assert.equal(document.name, "befund.pdf");
  assert.equal(document.sealedLength, 120);
  assert.equal(toHex(document.key), "66".repeat(32));
});

for (const [what, change] of Object.entries({
  "another r": { r: hex("23".repeat(32)) },
  "another link": { k1: hex("00".repeat(32)) },
  "another box": { box: "34".repeat(16) },
  "another share": { locator: "00".repeat(16) },
  "another expiry": { expiresAt: 1900000000 },
})) {
  test(`a manifest does not open with ${what}`, async () => {
    const sealed = await seal({ version: 1, documents: [entry] });
    await assert.rejects(openManifest(sealed, { ...share, ...change }), Tampered);
  });
}

for (const change of [
  { key: "AAAA" },
  { id: "../../etc/passwd" },
  { file: "55".repeat(15) },
  { length: -1 },
  { length: 1.5 },
  { sealed_length: "120" },
  { name: null },
  { title: "x".repeat(5000) },
]) {
  test(`a manifest with ${JSON.stringify(change).slice(0, 40)} is refused as a whole`, async () => {
    const sealed = await seal({ version: 1, documents: [entry, { ...entry, ...change }] });
    await assert.rejects(openManifest(sealed, share), Tampered);
  });
}

test("a manifest of another version is refused", async () => {
  await assert.rejects(openManifest(await seal({ version: 2, documents: [] }), share), Tampered);
});
