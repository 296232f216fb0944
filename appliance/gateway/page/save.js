/**
 * Saving an opened document on the person's device.
 *
 * Up to 64 MiB as a Blob; above that into a file the person chooses, where the browser can; else through a service
 * worker for /download/ alone, registered now and unregistered at the end. In each case an incomplete or changed
 * document leaves no file that looks complete. What this module is given is opened content; it holds no key.
 */

import { trustedScriptUrl } from "./trusted.js";

export const MAX_BLOB_BYTES = 64 * 1024 * 1024;
const SCOPE = "/download/";
const SIGN_OF_LIFE_MS = 10_000;
const LAST_BYTES_MS = 3_000;

/** This browser has no way to save a document of this size. */
export class CannotSave extends Error {}

/** A file name without path, control and direction marks (a name must look like what it is). */
export function safeFileName(name) {
  const plain = name.replace(/[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069/\\:*?"<>|]/g, "_");
  return plain.replace(/^[. ]+/, "_").slice(-200) || "_";
}

/** Collects content into a Blob; only for documents up to MAX_BLOB_BYTES. */
export async function collect(document, content) {
  const pieces = [];
  for await (const piece of content) pieces.push(piece);
  return new Blob(pieces, { type: document.mediaType });
}

/** Gives a Blob to the browser's download. */
export function saveBlob(name, blob) {
  const link = window.document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = safeFileName(name);
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/**
 * Chooses where a document goes; call it in the click itself, the file dialogue needs that.
 * Gives a function that takes the content and returns when it is saved. Throws AbortError if the person closed
 * the dialogue.
 */
export async function chooseDestination(document, signal) {
  if (document.length <= MAX_BLOB_BYTES) {
    return async (content) => saveBlob(document.name, await collect(document, content));
  }
  if (typeof window.showSaveFilePicker === "function") {
    const file = await window.showSaveFilePicker({ suggestedName: safeFileName(document.name) });
    return (content) => saveToFile(file, content);
  }
  if (!navigator.serviceWorker) throw new CannotSave("no service workers");
  return (content) => saveThroughServiceWorker(document, content, signal);
}

async function saveToFile(file, content) {
  const writable = await file.createWritable();
  try {
    for await (const piece of content) await writable.write(piece);
  } catch (error) {
    await writable.abort().catch(() => undefined); // the browser throws away what was written
    throw error;
  }
  await writable.close();
}

async function saveThroughServiceWorker(document, content, signal) {
  const registration = await register();
  const frame = window.document.createElement("iframe");
  const { port1: port, port2 } = new MessageChannel();
  let signOfLife;
  try {
    const worker = await activeWorker(registration);
    const id = crypto.randomUUID();
    signOfLife = setInterval(() => worker.postMessage({}), SIGN_OF_LIFE_MS);
    const flow = pour(content, port, signal);
    worker.postMessage({ id, name: safeFileName(document.name), length: document.length }, [port2]);
    await flow.ready;
    frame.hidden = true;
    frame.src = SCOPE + id;
    window.document.body.append(frame);
    await flow.finished;
    await new Promise((resolve) => setTimeout(resolve, LAST_BYTES_MS)); // the browser writes the last pieces
  } finally {
    clearInterval(signOfLife);
    port.close();
    frame.remove();
    await registration.unregister();
  }
}

/** A private window, for example, may have no service workers. */
async function register() {
  try {
    const address = trustedScriptUrl("/service-worker.js");
    return await navigator.serviceWorker.register(address, { scope: SCOPE, updateViaCache: "none" });
  } catch (error) {
    throw new CannotSave("registration", { cause: error });
  }
}

/** Answers each "more" of the service worker with one piece; `finished` settles when all are handed over. */
function pour(content, port, signal) {
  const pieces = content[Symbol.asyncIterator]();
  let ready;
  const isReady = new Promise((resolve) => {
    ready = resolve;
  });
  const finished = new Promise((resolve, reject) => {
    const end = (error) => {
      port.postMessage({ failed: true });
      pieces.return?.();
      reject(error);
    };
    signal?.addEventListener("abort", () => end(signal.reason));
    port.onmessage = async ({ data }) => {
      if (data === "ready") return ready();
      if (data === "cancel") return end(new DOMException("the download was stopped", "AbortError"));
      try {
        const { done, value } = await pieces.next();
        if (done) {
          port.postMessage({ complete: true });
          return resolve();
        }
        port.postMessage({ piece: value }, [value.buffer]);
      } catch (error) {
        end(error);
      }
    };
  });
  finished.catch(() => {});
  return { ready: isReady, finished };
}

function activeWorker(registration) {
  const worker = registration.installing ?? registration.waiting ?? registration.active;
  return new Promise((resolve, reject) => {
    const look = () => {
      if (worker.state === "activated") resolve(worker);
      if (worker.state === "redundant") reject(new Error("the service worker did not start"));
    };
    worker.addEventListener("statechange", look);
    look();
  });
}

/** Takes away service workers that a closed tab has left behind. */
export async function removeLeftovers() {
  const registrations = (await navigator.serviceWorker?.getRegistrations()) ?? [];
  await Promise.all(registrations.map((registration) => registration.unregister()));
}
