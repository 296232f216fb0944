/**
 * What the page asks of the practice's box: the state of the share, its opening, and ciphertext.
 *
 * Rules: S never travels, only the proof made from it; the PIN goes to the box once, inside its TLS. A document is
 * fetched in one answer and, when the transfer breaks, from where it broke (RFC 9110, section 14).
 */

const MAX_MANIFEST_BYTES = 1024 * 1024;
const CHUNK_BYTES = 256 * 1024;
const RETRY_AFTER_MS = [1000, 2000, 4000, 8000, 15000];

/** The box cannot be reached just now. */
export class Unreachable extends Error {}

/** The share or document is not there: revoked, expired or never there. */
export class Gone extends Error {}

async function post(path, body) {
  const answer = await reach(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (answer.status === 404) return { state: "unknown" };
  if (!answer.ok) throw new Unreachable(`status ${answer.status}`);
  try {
    return await answer.json();
  } catch (error) {
    throw new Unreachable("answer", { cause: error });
  }
}

async function reach(path, options) {
  const constant = { cache: "no-store", credentials: "omit", redirect: "error", referrerPolicy: "no-referrer" };
  try {
    return await fetch(path, { ...constant, ...options });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable("connection", { cause: error });
  }
}

/** Asks for the state of the share; costs no try. */
export function askState(proof) {
  return post("/api/state", { proof });
}

/** Offers the PIN: gives r, box and expiry, or the state and the tries left. */
export function askOpen(proof, pin) {
  return post("/api/open", { proof, pin });
}

/** Fetches the sealed manifest. */
export async function fetchManifest(locator) {
  const answer = await reach("/share/manifest", { headers: { "Praxis-Locator": locator } });
  if (answer.status === 404) throw new Gone("manifest");
  if (!answer.ok) throw new Unreachable(`status ${answer.status}`);
  const sealed = new Uint8Array(await answer.arrayBuffer());
  if (sealed.length > MAX_MANIFEST_BYTES) throw new Gone("manifest size");
  return sealed;
}

/**
 * Fetches the bytes of a sealed document, resuming broken transfers; yields chunks as they come.
 * Each chunk is valid until the next is asked for. `onBreak(attempt)` is called before a waiting time, `onFlow()` when bytes come again. Throws Gone when the share
 * was withdrawn, Unreachable after the last attempt. `wait(ms)` is given by tests.
 */
export async function* fetchSealed(locator, document, { signal, onBreak, onFlow, wait = waitFor } = {}) {
  let position = 0;
  let attempt = 0;
  while (position < document.sealedLength) {
    try {
      const headers = { "Praxis-Locator": locator, "Praxis-File": document.file };
      if (position > 0) headers.Range = `bytes=${position}-`;
      const answer = await reach("/share/document", { headers, signal });
      if (answer.status === 404) throw new Gone("document");
      if (answer.status !== (position > 0 ? 206 : 200)) throw new Unreachable(`status ${answer.status}`);
      for await (const chunk of chunksOf(answer.body)) {
        if (attempt > 0) onFlow?.();
        attempt = 0;
        position += chunk.length;
        yield chunk;
      }
      if (position < document.sealedLength) throw new Unreachable("ended early");
    } catch (error) {
      if (!(error instanceof Unreachable) || attempt >= RETRY_AFTER_MS.length) throw error;
      onBreak?.(attempt + 1);
      await wait(RETRY_AFTER_MS[attempt], signal);
      attempt += 1;
    }
  }
}

/** Yields the chunks of a body; a broken one is Unreachable. Each is valid until the next is asked for. */
async function* chunksOf(body) {
  const { reader, read } = readerOf(body);
  let ended = false;
  try {
    for (;;) {
      let step;
      try {
        step = await read();
      } catch (error) {
        if (error?.name === "AbortError") throw error;
        throw new Unreachable("transfer", { cause: error });
      }
      ended = step.done;
      if (ended) return;
      yield step.value;
    }
  } finally {
    if (!ended) reader.cancel().catch(() => undefined);
  }
}

/** Reads into one buffer again and again where the browser can (Safari before 26 cannot). */
function readerOf(body) {
  try {
    const reader = body.getReader({ mode: "byob" });
    let buffer = new ArrayBuffer(CHUNK_BYTES);
    const read = async () => {
      const step = await reader.read(new Uint8Array(buffer));
      buffer = step.value?.buffer ?? new ArrayBuffer(CHUNK_BYTES);
      return step;
    };
    return { reader, read };
  } catch {
    const reader = body.getReader();
    return { reader, read: () => reader.read() };
  }
}

function waitFor(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
