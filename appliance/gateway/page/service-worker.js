/**
 * Hands one opened document to the browser's own download, piece by piece.
 *
 * It serves nothing but /download/<id> for documents the page has announced, holds no key, keeps nothing, makes no
 * request, and is registered at the click and unregistered at the end (save.js). Pieces come through a MessagePort
 * one for one, as the download takes them, so no more than one lies in memory.
 */

/** Urges the garbage collector on, piece by piece; never written, so no memory (bytes.js, urgeCollection). */
const URGE_BYTES = 262144;

const announced = new Map();

self.addEventListener("install", (event) => event.waitUntil(self.skipWaiting()));

self.addEventListener("message", (event) => {
  const { id, name, length } = event.data;
  if (id === undefined) return; // a sign of life: any message keeps this worker running
  announced.set(id, { name, length, port: event.ports[0] });
  event.ports[0].postMessage("ready");
});

self.addEventListener("fetch", (event) => {
  const id = new URL(event.request.url).pathname.replace("/download/", "");
  const document = announced.get(id);
  announced.delete(id);
  event.respondWith(document ? download(document) : new Response(null, { status: 404 }));
});

function download({ name, length, port }) {
  const pieces = new ReadableStream(
    {
      pull(controller) {
        return new Promise((resolve) => {
          port.onmessage = ({ data }) => {
            new ArrayBuffer(URGE_BYTES);
            if (data.piece) controller.enqueue(data.piece);
            else if (data.complete) controller.close();
            else controller.error(new Error("broken off"));
            if (!data.piece) port.close();
            resolve();
          };
          port.postMessage("more");
        });
      },
      cancel() {
        port.postMessage("cancel");
        port.close();
      },
    },
    { highWaterMark: 0 },
  );
  // RFC 8187 spelling; encodeURIComponent leaves ' ( ) * as they are, which the RFC does not allow in it.
  const spelled = encodeURIComponent(name).replace(/['()*]/g, (mark) => `%${mark.charCodeAt(0).toString(16)}`);
  return new Response(pieces, {
    headers: {
      "Content-Type": "application/octet-stream",
      "Content-Length": String(length),
      "Content-Disposition": `attachment; filename*=UTF-8''${spelled}`,
      "Content-Security-Policy": "default-src 'none'; sandbox",
      "X-Content-Type-Options": "nosniff",
      "Cache-Control": "no-store",
    },
  });
}
