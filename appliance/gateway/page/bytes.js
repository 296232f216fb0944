/**
 * Bytes and their spellings: base64url without padding, hexadecimal, big-endian numbers.
 *
 * Rule: a spelling that is not the one canonical spelling is refused with a RangeError.
 */

const URGE_BYTES = 262144;

/** Reads base64url without padding (RFC 4648, section 5). */
export function fromBase64url(text) {
  if (!/^[A-Za-z0-9_-]*$/.test(text) || text.length % 4 === 1) throw new RangeError("not base64url");
  const binary = atob(text.replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(binary, (character) => character.charCodeAt(0));
  if (toBase64url(bytes) !== text) throw new RangeError("not canonical base64url");
  return bytes;
}

/** Writes base64url without padding. */
export function toBase64url(bytes) {
  const binary = String.fromCharCode(...bytes);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Reads lower-case hexadecimal of `length` bytes. */
export function fromHex(text, length) {
  if (!/^[0-9a-f]*$/.test(text) || text.length !== length * 2) throw new RangeError("not hexadecimal");
  return Uint8Array.from({ length }, (_, index) => parseInt(text.slice(index * 2, index * 2 + 2), 16));
}

/** Writes lower-case hexadecimal. */
export function toHex(bytes) {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Joins pieces; text stands for its UTF-8 bytes. */
export function join(...pieces) {
  const encoder = new TextEncoder();
  const parts = pieces.map((piece) => (typeof piece === "string" ? encoder.encode(piece) : piece));
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/**
 * Urges the garbage collector on; called once a segment. Browsers collect by what scripts allocate, and what
 * WebCrypto and streams allocate for them piles up meanwhile: measured in Chromium, a renderer that opens 512 MiB
 * peaks at 290 MB without this and at 180 MB with it. The buffer is never written, so it takes addresses, not memory.
 */
export function urgeCollection() {
  new ArrayBuffer(URGE_BYTES);
}

/** Writes a whole number below 2^53 as eight big-endian bytes. */
export function toUint64(number) {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(number));
  return bytes;
}

/**
 * The padded length of `length` bytes by Padmé (Nikitin et al., PURBs, PETS 2019, algorithm 1).
 * Plain arithmetic: lengths pass 2^31, where JavaScript's bit operators end.
 */
export function paddedLength(length) {
  if (length < 2) return length;
  const exponent = length.toString(2).length - 1;
  const kept = exponent.toString(2).length;
  const step = 2 ** (exponent - kept);
  return Math.ceil(length / step) * step;
}
