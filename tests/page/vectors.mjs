// Reads the vectors that the Python side is held against too.

import { readFileSync } from "node:fs";

export function readVectors(name) {
  const path = new URL(`../vectors/${name}.json`, import.meta.url);
  const { files, vectors } = JSON.parse(readFileSync(path, "utf-8"));
  return vectors.map((vector) => ({ ...vector, sealed: assemble(vector.sealed, files) }));
}

/** A sealed file is its parts one after another; see "how_to_read" in the vectors. */
function assemble(parts, files) {
  return new Uint8Array(
    Buffer.concat(
      parts.map((part) => {
        if (part.hex !== undefined) return Buffer.from(part.hex, "hex");
        return Buffer.from(files[part.file], "base64").subarray(part.from, part.to);
      }),
    ),
  );
}

export const hex = (text) => new Uint8Array(Buffer.from(text, "hex"));

/** Gives bytes in chunks of an awkward size, as a network does. */
export async function* inChunks(bytes, size = 4099) {
  for (let offset = 0; offset < bytes.length; offset += size) yield bytes.subarray(offset, offset + size);
}

export async function gather(pieces) {
  const gathered = [];
  for await (const piece of pieces) gathered.push(Buffer.from(piece));
  return new Uint8Array(Buffer.concat(gathered));
}

export async function sha256(bytes) {
  return Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("hex");
}
