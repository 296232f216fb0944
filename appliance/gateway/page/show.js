/**
 * Showing an opened document in the page: pictures and text here, a PDF in a sandboxed frame of opaque origin.
 *
 * The frame gets the opened bytes by message and no key; it can reach neither this page nor the network
 * (viewer.html's policy). What is too large to show well can still be saved.
 */

const MAX_SHOWN_BYTES = {
  "application/pdf": 64 * 1024 * 1024,
  "image/jpeg": 32 * 1024 * 1024,
  "image/png": 32 * 1024 * 1024,
  "text/plain": 4 * 1024 * 1024,
};

const STANDARD_FONTS = new Set([
  "FoxitDingbats.pfb",
  "FoxitFixed.pfb",
  "FoxitFixedBold.pfb",
  "FoxitFixedBoldItalic.pfb",
  "FoxitFixedItalic.pfb",
  "FoxitSerif.pfb",
  "FoxitSerifBold.pfb",
  "FoxitSerifBoldItalic.pfb",
  "FoxitSerifItalic.pfb",
  "FoxitSymbol.pfb",
  "LiberationSans-Bold.ttf",
  "LiberationSans-BoldItalic.ttf",
  "LiberationSans-Italic.ttf",
  "LiberationSans-Regular.ttf",
]);

/** Says whether a document can be shown in the page. */
export function canShow({ mediaType, length }) {
  return length <= (MAX_SHOWN_BYTES[mediaType] ?? -1);
}

/**
 * Makes the element that shows `blob`. `onFail(reason)` is called when it cannot be shown, reason "damaged" or
 * "password". The caller removes the element and calls `release` of what is given back.
 */
export async function makeView(document, blob, texts, onFail) {
  if (document.mediaType === "application/pdf") return pdfView(await blob.arrayBuffer(), texts, onFail);
  if (document.mediaType === "text/plain") return textView(await blob.arrayBuffer());
  return pictureView(document, blob, onFail);
}

function pictureView(document, blob, onFail) {
  const picture = window.document.createElement("img");
  picture.className = "picture";
  picture.alt = document.title || document.name;
  picture.addEventListener("error", () => onFail("damaged"));
  picture.src = URL.createObjectURL(blob);
  return { element: picture, release: () => URL.revokeObjectURL(picture.src) };
}

/** A table's columns must stay columns on a phone, where it is scrolled; only letters with longer lines are wrapped. */
const LONGEST_TABLE_LINE = 100;

/** Text is UTF-8 or, where that cannot be, Windows-1252: what older practice software writes. */
function textView(bytes) {
  const element = window.document.createElement("pre");
  element.className = "text";
  try {
    element.textContent = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    element.textContent = new TextDecoder("windows-1252").decode(bytes);
  }
  element.tabIndex = 0; // scrolled by keyboard too
  const longest = element.textContent.split("\n").reduce((most, line) => Math.max(most, line.length), 0);
  if (longest > LONGEST_TABLE_LINE) element.classList.add("prose");
  else element.style.setProperty("--longest", String(longest)); // as large as fits, if that can be read
  return { element, release: () => undefined };
}

function pdfView(bytes, texts, onFail) {
  const frame = window.document.createElement("iframe");
  frame.className = "pdf";
  frame.setAttribute("sandbox", "allow-scripts");
  frame.title = texts.viewer.document;
  frame.src = "/viewer.html";
  const { port1: port, port2 } = new MessageChannel();
  const onReady = ({ source, data }) => {
    if (source !== frame.contentWindow || data !== "viewer ready") return;
    window.removeEventListener("message", onReady);
    const message = { bytes, labels: texts.viewer, language: texts.language };
    frame.contentWindow.postMessage(message, "*", [bytes, port2]); // an opaque origin has no name to address
  };
  window.addEventListener("message", onReady);
  port.onmessage = async ({ data }) => {
    if (data.failed) onFail(data.failed === "password" ? "password" : "damaged");
    if (data.font) port.postMessage({ font: data.font, bytes: await standardFont(data.font) });
    if (data.shown) frame.dataset.shown = String(data.shown);
  };
  const release = () => {
    window.removeEventListener("message", onReady);
    port.close();
  };
  return { element: frame, release };
}

async function standardFont(name) {
  if (!STANDARD_FONTS.has(name)) return null;
  const answer = await fetch(`/assets/pdfjs/${name}`, { credentials: "omit" });
  return answer.ok ? answer.arrayBuffer() : null;
}
