/**
 * The sealed document, opened segment by segment as it arrives (docs/formats/envelope.md).
 *
 * Tink's AES-GCM-HKDF streaming AEAD, 64 KiB ciphertext segments. Rules: no byte leaves before the tag of its
 * segment is checked; memory holds one segment, whatever the length; the end counts as reached only when padding,
 * length and file size agree. The SHA-256 in the manifest is not computed here: WebCrypto has no incremental hash,
 * and each segment's tag, number and last flag already bind every byte.
 */

import { join, paddedLength, urgeCollection } from "./bytes.js";

export const SEGMENT_BYTES = 65536;
const HEADER_BYTES = 40;
const TAG_BYTES = 16;
const SALT = [1, 33];
const NONCE_PREFIX = [33, 40];
const MAX_INNER_HEADER_BYTES = 2048;
const LENGTH_BYTES = 8;

/** The bytes are not what the practice sealed; nothing of them may count as complete. */
export class Tampered extends Error {}

/** The file ended before its last segment: a broken transfer or a shortened file. */
export class Truncated extends Error {}

/** The associated data of a document: format version, box, document (16 bytes each). */
export function documentAssociatedData(box, id) {
  return join("praxissafe document 1\0", box, id);
}

/**
 * Opens the bare stream: yields the plaintext of each segment once it is authentic.
 * `source` is an async iterable of Uint8Array; `length` is the size of the whole file, so the last segment is
 * known. Throws Tampered or Truncated.
 */
export async function* openSegments(source, rawKey, associatedData, length) {
  const segments = cutSegments(source, length);
  let index = 0;
  let position = 0;
  let key;
  let iv;
  for await (const segment of segments) {
    position += segment.length;
    let ciphertext = segment;
    if (index === 0) {
      if (segment.length < HEADER_BYTES + TAG_BYTES || segment[0] !== HEADER_BYTES) throw new Tampered("header");
      key = await segmentKey(rawKey, segment.slice(...SALT), associatedData);
      iv = join(segment.subarray(...NONCE_PREFIX), new Uint8Array(5));
      ciphertext = segment.subarray(HEADER_BYTES);
    } else if (segment.length <= TAG_BYTES) {
      throw new Tampered("empty last segment");
    }
    new DataView(iv.buffer).setUint32(7, index);
    iv[11] = position === length ? 1 : 0;
    let plaintext;
    try {
      plaintext = await crypto.subtle.decrypt({ name: "AES-GCM", iv }, key, ciphertext);
    } catch (error) {
      throw new Tampered("segment", { cause: error });
    }
    urgeCollection();
    yield new Uint8Array(plaintext);
    index += 1;
  }
  if (index === 0) throw new Tampered("no segment");
}

/** Cuts a source into segments; the one buffer is used again after each. */
async function* cutSegments(source, length) {
  const buffer = new Uint8Array(SEGMENT_BYTES);
  let filled = 0;
  let received = 0;
  for await (const chunk of source) {
    received += chunk.length;
    if (received > length) throw new Tampered("longer than stated");
    for (let offset = 0; offset < chunk.length; ) {
      const taken = Math.min(SEGMENT_BYTES - filled, chunk.length - offset);
      buffer.set(chunk.subarray(offset, offset + taken), filled);
      filled += taken;
      offset += taken;
      if (filled === SEGMENT_BYTES) {
        yield buffer;
        filled = 0;
      }
    }
  }
  if (received < length) throw new Truncated("shorter than stated");
  if (filled > 0) yield buffer.subarray(0, filled);
}

async function segmentKey(rawKey, salt, info) {
  const parent = await crypto.subtle.importKey("raw", rawKey, "HKDF", false, ["deriveKey"]);
  const parameters = { name: "HKDF", hash: "SHA-256", salt, info };
  return crypto.subtle.deriveKey(parameters, parent, { name: "AES-GCM", length: 256 }, false, ["decrypt"]);
}

/**
 * Opens a document: yields its content piece by piece, exactly `document.length` bytes.
 * `document` is an entry of the manifest, `box` 16 bytes, `source` the bytes of its file. Throws Tampered when the
 * inner header does not name what the manifest names, or when what follows the content is not zeros and its length.
 */
export async function* openDocument(source, document, box) {
  const associatedData = documentAssociatedData(box, document.id);
  const length = new Uint8Array(LENGTH_BYTES);
  let [position, start, end, trailer] = [0, 0, 0, 0];
  for await (const plaintext of openSegments(source, document.key, associatedData, document.sealedLength)) {
    if (position === 0) {
      start = readInnerHeader(plaintext, document);
      end = start + document.length;
      trailer = paddedLength(end + LENGTH_BYTES) - LENGTH_BYTES;
    }
    const here = (offset) => Math.min(Math.max(offset - position, 0), plaintext.length);
    if (plaintext.subarray(here(end), here(trailer)).some((byte) => byte !== 0)) throw new Tampered("padding");
    const tail = plaintext.subarray(here(trailer), here(trailer + LENGTH_BYTES));
    if (tail.length > 0) length.set(tail, position + here(trailer) - trailer);
    const content = plaintext.subarray(here(start), here(end));
    position += plaintext.length;
    if (content.length > 0) yield content;
  }
  const stated = new DataView(length.buffer).getBigUint64(0);
  if (position !== trailer + LENGTH_BYTES || stated !== BigInt(document.length)) throw new Tampered("length");
}

/** Checks the inner header, of which there is one spelling, and gives the offset of the content. */
function readInnerHeader(plaintext, { name, mediaType }) {
  const json = join(JSON.stringify({ name, media_type: mediaType }));
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, json.length);
  const expected = join(length, json);
  const same = expected.every((byte, index) => byte === plaintext[index]);
  if (json.length > MAX_INNER_HEADER_BYTES || !same) throw new Tampered("inner header");
  return expected.length;
}
