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
    texts.types[document.mediaType],
    sizeInWords(document.length, texts.language),
  ];
  const save = () => saveDocument(share, document);
  const open = () => showDocument(share, document);
  return element(
    "li",
    {},
    element("h2", {}, title),
    paragraph([...new Set(about.filter(Boolean))].join(" · "), "soft"),
    element(
      "div",
      { class: "buttons" },
      canShow(document) ? button(texts.open, open, { label: texts.openThis(title) }) : null,
      button(texts.save, save, { label: texts.saveThis(title), style: canShow(document) ? "second" : null }),
    ),
  );
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
    const opened = (document.length * state.done) / document.sealedLength; // the padding is of no interest
    const [done, all] = [opened, document.length].map((size) => sizeInWords(size, texts.language));
    bar.value = state.done;
    bar.setAttribute("aria-label", texts[name](titleOf(document)));
    bar.setAttribute("aria-valuetext", `${percent} %`);
    line.textContent = state.broken ? texts.broken : texts.progress(percent, done, all);
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
  return { content: openDocument(counted(), document, share.box), signal: stopping.signal };
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
  const { content } = transfer(share, document, "opening");
  try {
    const blob = await collect(document, content);
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
  let view = { release: () => undefined };
  const back = () => documentsScreen(share);
  const draw = async (texts) => {
    view.release();
    problem.replaceChildren();
    const fail = (reason) => {
      place.replaceChildren();
      problem.replaceChildren(paragraph(texts.cannotShow[reason], "wrong"));
    };
    view = await makeView(document, blob, texts, fail);
    place.replaceChildren(view.element);
  };
  const screen = (texts) => {
    draw(texts);
    return [
      heading(titleOf(document)),
      element(
        "div",
        { class: "buttons" },
        button(texts.back, back),
        button(texts.save, () => saveBlob(document.name, blob), { style: "second" }),
      ),
      problem,
      place,
      document.mediaType === "application/pdf" ? paragraph(texts.printPdf, "on-paper") : null,
    ];
  };
  show(screen, { wide: true, onLeave: () => view.release() });
}
