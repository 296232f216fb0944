/**
 * Shows one PDF in a frame of its own, opaque origin: pdf.js, the opened bytes, and nothing else.
 *
 * Rules: the frame is sandboxed (allow-scripts alone) and may connect nowhere; it gets bytes and labels by message,
 * never a key. A hostile PDF that took pdf.js over would hold this one document. No links, forms, scripts or
 * attachments of a PDF are active: only its pages are painted, and their text is there for screen readers.
 */

import { GlobalWorkerOptions, getDocument } from "/assets/pdfjs/pdf.min.mjs";

const ASSETS = new URL("/assets/pdfjs/", location.href).href;
const STEPS = [1, 1.25, 1.5, 2, 3];
const NARROW = 500;
const MAX_CANVAS_PIXELS = 12_000_000;
const GAP = 16;

const pages = document.getElementById("pages");
const place = document.getElementById("place");
const [smaller, larger] = ["smaller", "larger"].map((id) => document.getElementById(id));
const policy = globalThis.trustedTypes?.createPolicy("viewer", { createScriptURL: (address) => address });

/** Asks the page around for the standard fonts a PDF may leave out (ISO 32000-1, 9.6.2.2). */
function fontSource(port) {
  const waiting = new Map();
  port.addEventListener("message", ({ data }) => {
    waiting.get(data.font)?.(data.bytes);
    waiting.delete(data.font);
  });
  return class {
    async fetch({ kind, filename }) {
      if (kind !== "standardFontDataUrl") throw new Error("not given");
      const bytes = await new Promise((resolve) => {
        waiting.set(filename, resolve);
        port.postMessage({ font: filename });
      });
      if (!bytes) throw new Error("no such font");
      return new Uint8Array(bytes);
    }
  };
}

/** Starts pdf.js's worker; an opaque origin may only start one from a blob of its own. */
function startWorker() {
  const address = JSON.stringify(`${ASSETS}pdf.worker.min.mjs`);
  const source = URL.createObjectURL(new Blob([`import ${address};`], { type: "text/javascript" }));
  return new Promise((resolve, reject) => {
    const worker = new Worker(policy ? policy.createScriptURL(source) : source, { type: "module" });
    worker.addEventListener("message", () => resolve(worker), { once: true });
    worker.addEventListener("error", () => reject(new Error("worker")), { once: true });
  });
}

async function open(bytes, port) {
  try {
    GlobalWorkerOptions.workerPort = await startWorker();
  } catch {
    globalThis.pdfjsWorker = await import(`${ASSETS}pdf.worker.min.mjs`); // slower, on this thread
  }
  return getDocument({
    data: bytes,
    wasmUrl: ASSETS,
    useWasm: false,
    useWorkerFetch: false,
    useSystemFonts: false,
    BinaryDataFactory: fontSource(port),
    enableXfa: false,
    stopAtErrors: false,
    verbosity: 0,
  }).promise;
}

async function present(pdf, labels) {
  const first = await pdf.getPage(1);
  const shape = first.getViewport({ scale: 1 });
  const sheets = Array.from({ length: pdf.numPages }, (_, index) => {
    const sheet = document.createElement("section");
    sheet.className = "page";
    sheet.dataset.number = String(index + 1);
    sheet.setAttribute("aria-label", `${labels.page} ${index + 1}`);
    return sheet;
  });
  // A whole A4 line on a phone is too small to read: until the reader chooses, a narrow frame begins larger.
  const firstStep = () => (pages.clientWidth < NARROW ? STEPS.indexOf(2) : 0);
  let chosen = false;
  let step = firstStep();
  const width = () => Math.max(200, pages.clientWidth - GAP) * STEPS[step];
  const resize = (sheet, { width: wide, height: high }) => {
    sheet.style.width = `${width()}px`;
    sheet.style.height = `${(width() * high) / wide}px`;
  };
  const near = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) paint(pdf, target, width(), resize).catch(() => undefined);
        else target.replaceChildren();
      }
    },
    { root: pages, rootMargin: "100% 0px" },
  );
  const seen = new IntersectionObserver(
    (entries) => {
      const visible = entries.filter((entry) => entry.isIntersecting);
      if (visible.length) place.value = labels.place.replace("{page}", visible[0].target.dataset.number);
    },
    { root: pages, rootMargin: "-45% 0px -45% 0px" },
  );
  const layOut = () => {
    smaller.disabled = step === 0;
    larger.disabled = step === STEPS.length - 1;
    for (const sheet of sheets) {
      near.unobserve(sheet);
      sheet.replaceChildren();
      resize(sheet, shape);
      near.observe(sheet);
    }
  };
  const zoom = (change) => {
    const where = pages.scrollTop / Math.max(1, pages.scrollHeight);
    chosen ||= change !== 0;
    step = chosen ? Math.min(Math.max(step + change, 0), STEPS.length - 1) : firstStep();
    layOut();
    pages.scrollTop = where * pages.scrollHeight;
  };
  smaller.addEventListener("click", () => zoom(-1));
  larger.addEventListener("click", () => zoom(1));
  let turning;
  addEventListener("resize", () => {
    clearTimeout(turning);
    turning = setTimeout(() => zoom(0), 200);
  });
  pages.replaceChildren(...sheets);
  place.value = labels.place.replace("{page}", "1");
  layOut();
  for (const sheet of sheets) seen.observe(sheet);
}

async function paint(pdf, sheet, width, resize) {
  const page = await pdf.getPage(Number(sheet.dataset.number));
  const shape = page.getViewport({ scale: 1 });
  resize(sheet, shape);
  const fit = width / shape.width;
  const sharpest = Math.sqrt(MAX_CANVAS_PIXELS / (shape.width * shape.height));
  const viewport = page.getViewport({ scale: Math.min(fit * Math.min(devicePixelRatio, 2), sharpest) });
  const canvas = document.createElement("canvas");
  canvas.width = Math.floor(viewport.width);
  canvas.height = Math.floor(viewport.height);
  canvas.setAttribute("aria-hidden", "true");
  await page.render({ canvas, viewport }).promise;
  const words = document.createElement("p");
  words.textContent = (await page.getTextContent()).items.map((item) => item.str ?? "").join(" ");
  sheet.replaceChildren(canvas, words);
}

addEventListener("message", async ({ source, data, ports }) => {
  if (source !== parent || ports.length !== 1) return;
  const [port] = ports;
  port.start();
  const { bytes, labels, language } = data;
  document.documentElement.lang = language;
  document.getElementById("tools").setAttribute("aria-label", labels.tools);
  smaller.setAttribute("aria-label", labels.smaller);
  larger.setAttribute("aria-label", labels.larger);
  pages.setAttribute("aria-label", labels.document);
  document.getElementById("title").textContent = labels.document;
  try {
    const pdf = await open(bytes, port);
    labels.place = labels.place.replace("{pages}", String(pdf.numPages));
    await present(pdf, labels);
    port.postMessage({ shown: pdf.numPages });
  } catch (error) {
    port.postMessage({ failed: error?.name === "PasswordException" ? "password" : "damaged" });
  }
});

parent.postMessage("viewer ready", "*");
