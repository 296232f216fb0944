/**
 * The manifest: the list of a share's documents with their keys (docs/formats/share-manifest.md).
 *
 * Its key needs k1 (from the link) and r (from vault, for the right PIN). Box, share and expiry are part of what is
 * authenticated, so a moved manifest or a later date does not open. There is one spelling, and nothing of a manifest
 * is used before all of it is checked: Tampered otherwise.
 */

import { fromBase64url, fromHex, join, paddedLength, toUint64 } from "./bytes.js";
import { Tampered } from "./envelope.js";
import { derive } from "./share_link.js";

const NONCE_BYTES = 12;
const MAX_DOCUMENTS = 256;
const MAX_TEXT = 255; // code points, as the practice's side counts
const MAX_LENGTH = 2 ** 40;
const MEMBERS = "id,file,key,name,title,kind,media_type,length,sealed_length,sha256";
const PREVIEW_MEMBERS = "id,file,key,length,sealed_length,sha256";
/** What the envelope of every preview says: a picture without a name of its own. */
const PREVIEW_HEADER = { name: "preview.jpg", mediaType: "image/jpeg" };

/** Derives the manifest's key, K, from both halves (bytes). */
export function manifestKey(k1, r) {
  return derive(join(k1, r), "praxissafe share 1 manifest", 32);
}

/**
 * Opens the manifest and gives its documents; throws Tampered when it is not exactly what was sealed.
 * `box` and `locator` are hexadecimal, `expiresAt` is in Unix seconds.
 */
export async function openManifest(sealed, rawKey, { box, locator, expiresAt }) {
  const additionalData = join("praxissafe manifest 1\0", fromHex(box, 16), fromHex(locator, 16), toUint64(expiresAt));
  const key = await crypto.subtle.importKey("raw", rawKey, "AES-GCM", false, ["decrypt"]);
  const iv = sealed.subarray(0, NONCE_BYTES);
  try {
    const opened = await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, key, sealed.subarray(NONCE_BYTES));
    return readDocuments(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(opened), opened.byteLength, box);
  } catch (error) {
    throw new Tampered("manifest", { cause: error });
  }
}

function readDocuments(text, length, box) {
  const manifest = JSON.parse(text);
  const spelled = JSON.stringify(manifest);
  const spelledLength = join(spelled).length;
  const padding = " ".repeat(Math.max(0, length - spelledLength));
  check(text === spelled + padding && length === paddedLength(spelledLength), "spelling");
  check(Object.keys(manifest).join() === "version,documents" && manifest.version === 1, "version");
  const { documents } = manifest;
  check(Array.isArray(documents) && documents.length > 0 && documents.length <= MAX_DOCUMENTS, "documents");
  const sealed = [...documents, ...documents.map((entry) => entry.preview).filter((preview) => preview !== undefined)];
  check(sealed.every((entry) => typeof entry === "object" && entry !== null), "documents");
  for (const member of ["id", "file", "key"]) {
    check(new Set(sealed.map((entry) => entry[member])).size === sealed.length, "document twice");
  }
  check(sealed.every((entry) => entry.box !== box), "own box");
  return documents.map(readDocument);
}

function readDocument(entry) {
  const { preview } = entry;
  checkMembers(entry, MEMBERS, preview === undefined ? "" : ",preview");
  for (const member of ["name", "title", "kind", "media_type"]) {
    check(typeof entry[member] === "string" && [...entry[member]].length <= MAX_TEXT, member);
  }
  const { name, title, kind, media_type: mediaType } = entry;
  const opened = { ...readSealed(entry), name, title, kind, mediaType };
  return preview === undefined ? opened : { ...opened, preview: { ...readPreview(preview), title } };
}

function readPreview(entry) {
  checkMembers(entry, PREVIEW_MEMBERS, "");
  return { ...readSealed(entry), ...PREVIEW_HEADER };
}

/** Every member is there, in its place, and no other; `box` only if the file is bound to another box. */
function checkMembers(entry, members, last) {
  check(Object.keys(entry).join() === members + (entry.box === undefined ? "" : ",box") + last, "members");
}

/** Reads what a document and a preview have in common: where the sealed file is and what opens it. */
function readSealed(entry) {
  const { file, length, sealed_length: sealedLength } = entry;
  check(Number.isSafeInteger(length) && length >= 0 && length <= MAX_LENGTH, "length");
  check(Number.isSafeInteger(sealedLength) && sealedLength > length && sealedLength <= 2 * MAX_LENGTH, "sealed length");
  fromHex(entry.file, 16);
  fromHex(entry.sha256, 32);
  const key = fromBase64url(entry.key);
  check(key.length === 32, "key");
  const box = entry.box === undefined ? undefined : fromHex(entry.box, 16);
  return { id: fromHex(entry.id, 16), file, key, length, sealedLength, box };
}

function check(holds, what) {
  if (!holds) throw new RangeError(what);
}
