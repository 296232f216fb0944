/**
 * The share link: what is derived from S (docs/formats/share-link.md).
 *
 * HKDF-SHA256 with an empty salt (RFC 5869) makes three values that say nothing about one another: the locator
 * (where the share lies), the proof (that we hold the link) and k1 (one half of the manifest's key).
 */

import { fromBase64url, join, toBase64url, toHex } from "./bytes.js";

const VERSION = 1;
const SECRET_BYTES = 32;

/** The link is not complete or not of a kind this page knows. */
export class LinkMalformed extends Error {}

/** HKDF-SHA256 with an empty salt; `label` is the info string. */
export async function derive(secret, label, length) {
  const key = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits"]);
  const parameters = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(0), info: join(label) };
  return new Uint8Array(await crypto.subtle.deriveBits(parameters, key, length * 8));
}

/**
 * Reads S and derives locator (hexadecimal), proof (base64url) and k1 (bytes).
 * Throws LinkMalformed unless S is version 1 followed by 32 bytes.
 */
export async function readShareLink(text) {
  let bytes;
  try {
    bytes = fromBase64url(text);
  } catch (error) {
    throw new LinkMalformed("spelling", { cause: error });
  }
  if (bytes.length !== 1 + SECRET_BYTES || bytes[0] !== VERSION) throw new LinkMalformed("version or length");
  const secret = bytes.subarray(1);
  const [locator, proof, k1] = await Promise.all([
    derive(secret, "praxissafe share 1 locator", 16),
    derive(secret, "praxissafe share 1 proof", 32),
    derive(secret, "praxissafe share 1 wrap", 32),
  ]);
  bytes.fill(0);
  return { locator: toHex(locator), proof: toBase64url(proof), k1 };
}
