/**
 * The list of a share's documents, and opening and saving one of them.
 *
 * One thing at a time: a document is fetched, opened segment by segment and shown or saved while a bar tells how
 * far it is; then the list is back. A broken transfer goes on where it broke; a withdrawn share says so.
 */

import { Tampered, openDocument } from "./envelope.js";
import { CannotSave, chooseDestination, collect, saveBlob } from "./save.js";
import { announce, button, element, heading, messageScreen, paragraph, show, telephone } from "./screens.js";
import { Gone, Unreachable, fetchSealed } from "./server.js";
import { canShow, makeView } from "./show.js";
import { dayInWords, sizeInWords } from "./texts.js";

const REDRAW_MS = 200;
/** From here on a document takes so long, or so much room, that its size is worth a word. */
const LONG_BYTES = 5_000_000;

/** Shows the list; `note(texts)` is a sentence about what happened last, `style` its class. */
export function documentsScreen(share, note = null, style = "soft") {
  show((texts) => [
    heading(texts.documents),
    note ? paragraph(note(texts), style) : null,
    paragraph(share.documents.length ? texts.count(share.documents.length) : texts.empty, "soft"),
    element("ul", { class: "documents" }, ...share.documents.map((document) => entry(share, document, texts))),
    paragraph(texts.until(dayInWords(share.expiresAt, texts.language))),
    paragraph(texts.finished, "on-screen"),
    telephone(share.telephone, texts.call),
  ]);
  if (note) announce(note);
}

function titleOf(document) {
  return document.title || document.name;
}

function entry(share, document, texts) {
  const title = titleOf(document);
  const about = [
    texts.kinds[document.kind] ?? texts.otherKind,
    document.length >= LONG_BYTES ? sizeInWords(document.length, texts.language) : null,
  ];
  const save = () => saveDocument(share, document);
  const open = () => showDocument(share, document);
  return element(
    "li",
    {},
    element("h2", {}, title),
    paragraph(about.filter(Boolean).join(" · "), "soft"),
    element(
      "div",
      { class: "buttons" },
      shownBy(document) ? button(texts.open, open, { label: texts.openThis(title) }) : null,
      button(texts.save, save, { label: texts.saveThis(title), style: shownBy(document) ? "second" : null }),
    ),
  );
}

/** Gives what can be shown of a document: itself, its preview, or nothing. */
function shownBy(document) {
  return [document, document.preview].find((each) => each && canShow(each));
}

/** Shows the bar and gives the opened content of a document; `name` is the text for what is being done. */
function transfer(share, document, name) {
  const stopping = new AbortController();
  const bar = element("progress", { max: String(document.sealedLength), value: "0", role: "progressbar" });
  const state = { done: 0, broken: false };
  const line = element("p", { class: "soft" });
  let texts;
  const redraw = () => {
    const percent = Math.floor((100 * state.done) / document.sealedLength);
    const isLong = document.length >= LONG_BYTES;
    const words = isLong ? texts.progress(percent, sizeInWords(document.length, texts.language)) : texts.wait;
    bar.value = state.done;
    bar.setAttribute("aria-label", texts[name](titleOf(document)));
    bar.setAttribute("aria-valuetext", `${percent} %`);
    line.textContent = state.broken ? texts.broken : words;
    line.className = state.broken ? "wrong" : "soft";
  };
  const stop = () => stopping.abort(new DOMException("stopped by the person", "AbortError"));
  const screen = (words) => {
    texts = words;
    redraw();
    return [heading(words[name](titleOf(document))), bar, line, button(words.stop, stop, { style: "second" })];
  };
  const setBroken = (broken) => {
    state.broken = broken;
    redraw();
    announce((words) => (broken ? words.broken : words.flowing));
  };
  async function* counted() {
    let drawn = 0;
    const ways = { signal: stopping.signal, onBreak: () => setBroken(true), onFlow: () => setBroken(false) };
    for await (const chunk of fetchSealed(share.locator, document, ways)) {
      state.done += chunk.length;
      if (performance.now() - drawn > REDRAW_MS) {
        drawn = performance.now();
        redraw();
      }
      yield chunk;
    }
    redraw();
  }
  show(screen);
  return { content: openDocument(counted(), document, document.box ?? share.box), signal: stopping.signal };
}

async function saveDocument(share, document) {
  const stopping = new AbortController();
  let save;
  try {
    save = await chooseDestination(document, stopping.signal);
  } catch (error) {
    if (error?.name === "AbortError") return; // the person closed the dialogue
    return explain(share, error);
  }
  const { content, signal } = transfer(share, document, "saving");
  signal.addEventListener("abort", () => stopping.abort(signal.reason));
  try {
    await save(content);
    documentsScreen(share, (texts) => texts.saved(titleOf(document)), "good");
  } catch (error) {
    explain(share, error, () => saveDocument(share, document));
  }
}

async function showDocument(share, document) {
  const shown = shownBy(document);
  const { content } = transfer(share, shown, "opening");
  try {
    const blob = await collect(shown, content);
    await present(share, document, blob);
  } catch (error) {
    explain(share, error, () => showDocument(share, document));
  }
}

/** Says why a document did not come; `again()` tries once more. */
function explain(share, error, again = null) {
  if (error?.name === "AbortError") return documentsScreen(share, (texts) => texts.stopped);
  if (error instanceof Gone) return share.look();
  if (error instanceof Tampered) return show(messageScreen("tampered", { number: share.telephone, again }));
  if (error instanceof Unreachable) return documentsScreen(share, (texts) => texts.failed, "wrong");
  const cannot = error instanceof CannotSave;
  documentsScreen(share, (texts) => (cannot ? texts.cannotSave : texts.notSaved), "wrong");
}

async function present(share, document, blob) {
  const place = element("div");
  const problem = element("div", { role: "alert" });
  const hint = element("p", { class: "soft on-screen", hidden: true });
  let view = { release: () => undefined };
  const back = () => documentsScreen(share);
  const watcher = new ResizeObserver(([{ target }]) => {
    hint.hidden = target.scrollWidth <= target.clientWidth;
  });
  const shown = shownBy(document);
  const isPreview = shown !== document;
  const save = () => (isPreview ? saveDocument(share, document) : saveBlob(document.name, blob));
  const draw = async (texts) => {
    view.release();
    problem.replaceChildren();
    const fail = (reason) => {
      place.replaceChildren();
      problem.replaceChildren(paragraph(texts.cannotShow[reason], "wrong"));
    };
    view = await makeView(shown, blob, texts, fail);
    place.replaceChildren(view.element);
    watcher.disconnect();
    if (view.element.matches("pre")) watcher.observe(view.element);
  };
  const screen = (texts) => {
    hint.textContent = texts.tooWide;
    draw(texts);
    return [
      heading(titleOf(document)),
      element(
        "div",
        { class: "buttons" },
        button(texts.back, back),
        button(texts.save, save, { style: "second" }),
      ),
      isPreview ? paragraph(texts.previewOnly, "soft") : null,
      problem,
      hint,
      place,
      document.mediaType === "application/pdf" ? paragraph(texts.printPdf, "on-paper") : null,
    ];
  };
  show(screen, { wide: true, onLeave: () => { watcher.disconnect(); view.release(); } });
}
