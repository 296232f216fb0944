// The link and the manifest: the same vectors as tests/formats.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { toHex } from "../../appliance/gateway/page/bytes.js";
import { Tampered } from "../../appliance/gateway/page/envelope.js";
import { manifestKey, openManifest } from "../../appliance/gateway/page/manifest.js";
import { LinkMalformed, readShareLink } from "../../appliance/gateway/page/share_link.js";
import { hex } from "./vectors.mjs";

const read = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url), "utf-8")).vectors;

for (const [index, vector] of read("share_link").entries()) {
  test(`link ${index} is ${vector.outcome}`, async () => {
    const opened = readShareLink(vector.fragment);
    if (vector.outcome !== "ok") return assert.rejects(opened, LinkMalformed);
    const { locator, proof, k1 } = await opened;
    assert.equal(locator, vector.locator);
    assert.equal(Buffer.from(proof, "base64url").toString("hex"), vector.proof);
    assert.equal(toHex(k1), vector.wrap_key);
    assert.equal(toHex(await manifestKey(k1, hex(vector.release))), vector.manifest_key);
  });
}

for (const vector of read("share_manifest")) {
  test(`manifest ${vector.name} is ${vector.outcome}`, async () => {
    const { box, locator, expires_at: expiresAt, manifest } = vector;
    const sealed = new Uint8Array(Buffer.from(vector.sealed, "base64"));
    const opened = openManifest(sealed, hex(vector.key), { box, locator, expiresAt });
    if (vector.outcome !== "ok") return assert.rejects(opened, Tampered);
    const documents = await opened;
    assert.equal(documents.length, manifest.documents.length);
    for (const [index, entry] of manifest.documents.entries()) {
      assert.equal(toHex(documents[index].id), entry.id);
      assert.equal(Buffer.from(documents[index].key).toString("base64url"), entry.key);
      assert.equal(documents[index].mediaType, entry.media_type);
      assert.equal(documents[index].box && toHex(documents[index].box), entry.box);
      assert.equal(documents[index].preview === undefined, entry.preview === undefined);
      if (entry.preview !== undefined) {
        const { preview } = documents[index];
        assert.equal(toHex(preview.id), entry.preview.id);
        assert.equal(Buffer.from(preview.key).toString("base64url"), entry.preview.key);
        assert.equal(preview.sealedLength, entry.preview.sealed_length);
        assert.equal(preview.mediaType, "image/jpeg");
        assert.equal(preview.box && toHex(preview.box), entry.preview.box);
        for (const same of ["file", "length"]) assert.equal(preview[same], entry.preview[same]);
      }
      for (const same of ["file", "name", "title", "kind", "length"]) assert.equal(documents[index][same], entry[same]);
    }
  });
}
