/**
 * The manifest: the list of a share's documents with their keys (docs/formats/manifest.md).
 *
 * Its key needs k1 (from the link) and r (from vault, for the right PIN). The expiry is part of what is
 * authenticated, so a changed date does not open. Nothing of a manifest is used before all of it is checked.
 */

import { fromBase64url, fromHex, join, toUint64 } from "./bytes.js";
import { Tampered } from "./envelope.js";
import { derive } from "./share_link.js";

const NONCE_BYTES = 12;
const MAX_DOCUMENTS = 1000;
const MAX_TEXT = 1024;

/**
 * Opens the manifest and gives its documents; throws Tampered when it is not exactly what was sealed.
 * `box` and `locator` are hexadecimal, `expiresAt` is in Unix seconds, `k1` and `r` are bytes.
 */
export async function openManifest(sealed, { k1, r, box, locator, expiresAt }) {
  const raw = await derive(join(k1, r), "praxissafe share 1 manifest", 32);
  const key = await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["decrypt"]);
  raw.fill(0);
  let manifest;
  try {
    const additionalData = join(
      "praxissafe manifest 1\0",
      fromHex(box, 16),
      fromHex(locator, 16),
      toUint64(expiresAt),
    );
    const iv = sealed.subarray(0, NONCE_BYTES);
    const body = sealed.subarray(NONCE_BYTES);
    const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, key, body);
    manifest = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(opened));
  } catch (error) {
    throw new Tampered("manifest", { cause: error });
  }
  return readDocuments(manifest);
}

function readDocuments(manifest) {
  const documents = manifest?.documents;
  if (manifest?.version !== 1 || !Array.isArray(documents) || documents.length > MAX_DOCUMENTS) {
    throw new Tampered("manifest version");
  }
  return documents.map(readDocument);
}

function readDocument(entry) {
  for (const field of ["name", "title", "kind", "media_type"]) {
    if (typeof entry[field] !== "string" || entry[field].length > MAX_TEXT) throw new Tampered(field);
  }
  for (const field of ["length", "sealed_length"]) {
    if (!Number.isSafeInteger(entry[field]) || entry[field] < 0) throw new Tampered(field);
  }
  try {
    fromHex(entry.file, 16);
    const key = fromBase64url(entry.key);
    if (key.length !== 32) throw new RangeError("key length");
    return {
      id: fromHex(entry.id, 16),
      file: entry.file,
      key,
      name: entry.name,
      title: entry.title,
      kind: entry.kind,
      mediaType: entry.media_type,
      length: entry.length,
      sealedLength: entry.sealed_length,
    };
  } catch (error) {
    throw new Tampered("document", { cause: error });
  }
}
