/**
 * The patient's page: from the link to the opened document.
 *
 * S is taken first (secret.js); then the state is asked, the PIN typed, the share opened and its manifest read.
 * Rules: loading changes nothing on the box; nothing is stored in the browser; keys and r live in this tab's memory
 * and go with it.
 */

import { onNextLink, secretLeaked, takeSecret } from "./secret.js";
import { fromBase64url, fromHex } from "./bytes.js";
import { Tampered } from "./envelope.js";
import { documentsScreen } from "./documents.js";
import { manifestKey, openManifest } from "./manifest.js";
import { removeLeftovers } from "./save.js";
import { element, heading, messageScreen, paragraph, setPractice, show, telephone } from "./screens.js";
import { Gone, Unreachable, askOpen, askState, fetchManifest } from "./server.js";
import { LinkMalformed, readShareLink } from "./share_link.js";

const SEPARATORS = /[\s.-]/g;
const PIN = /^[0-9]{6,8}$/;
const ALL_TRIES = 5;

/** Begins a visit: what the tab knows of one link is handed on from screen to screen and kept nowhere else. */
async function start() {
  setPractice("");
  if (secretLeaked) return show(messageScreen("leaked"));
  if (!globalThis.crypto?.subtle || !globalThis.ReadableStream) return show(messageScreen("unsupported"));
  let link;
  try {
    link = await readShareLink(takeSecret());
  } catch (error) {
    if (!(error instanceof LinkMalformed)) throw error;
    return show(messageScreen("missing"));
  }
  removeLeftovers().catch(() => undefined);
  await look({ link, number: "" });
}

/** Asks for the state and shows what it means. */
async function look(visit) {
  show((texts) => [heading(texts.wait)]);
  try {
    explain(await askState(visit.link.proof), visit);
  } catch (error) {
    stumble(error, visit);
  }
}

/** Shows the screen that belongs to a state. */
function explain(answer, visit) {
  if (answer.practice) setPractice(answer.practice);
  const next = { ...visit, practice: answer.practice, number: answer.telephone ?? visit.number };
  if (answer.state === "open") return askForPin({ ...next, triesLeft: answer.tries_left });
  const known = ["expired", "revoked", "closed"].includes(answer.state);
  show(messageScreen(known ? answer.state : "unknown", { number: next.number }));
}

/** Shows a foreseen failure; anything else is a bug and reaches the console. */
function stumble(error, visit) {
  const help = { number: visit.number, again: () => look(visit) };
  if (error instanceof Unreachable) return show(messageScreen("unreachable", help));
  if (error instanceof Tampered) return show(messageScreen("tampered", help));
  if (error instanceof Gone) return look(visit);
  show(messageScreen("unsupported", { number: visit.number }));
  throw error;
}

/** `problem(texts)` is what was wrong with the last PIN. */
function askForPin(visit, problem = null) {
  const { practice, number, triesLeft } = visit;
  const submit = (event) => {
    event.preventDefault();
    const pin = event.target.elements.pin.value.replace(SEPARATORS, "");
    if (!PIN.test(pin)) return askForPin(visit, (texts) => texts.pinShort);
    event.target.querySelector("button").disabled = true;
    open(pin, visit);
  };
  show((texts) => [
    heading(texts.documents),
    paragraph(texts.from(practice)),
    element(
      "form",
      { submit, autocomplete: "off", novalidate: true },
      element("label", { for: "pin" }, texts.pin),
      element("p", { id: "hint", class: "soft" }, texts.pinHint),
      element("input", {
        id: "pin",
        name: "pin",
        type: "text",
        inputmode: "numeric",
        autocomplete: "off",
        autocorrect: "off",
        spellcheck: "false",
        maxlength: "20",
        enterkeyhint: "go",
        "aria-describedby": "problem hint",
        "aria-invalid": problem ? "true" : null,
        "data-first": true,
      }),
      element("div", { id: "problem", role: "alert" }, problem ? paragraph(problem(texts), "wrong") : null),
      problem === null && triesLeft < ALL_TRIES ? paragraph(texts.triesLeft(triesLeft), "wrong") : null,
      element("button", { type: "submit" }, texts.openAll),
    ),
    element("div", { class: "soft on-screen" }, element("br"), telephone(number, texts.lost)),
  ]);
}

async function open(pin, visit) {
  try {
    const answer = await askOpen(visit.link.proof, pin);
    if (answer.state === "open") {
      const triesLeft = answer.tries_left;
      return askForPin({ ...visit, triesLeft }, (texts) => texts.wrongPin(triesLeft));
    }
    if (answer.state) return explain(answer, visit);
    show((texts) => [heading(texts.wait)]);
    await openShare(answer, visit);
  } catch (error) {
    stumble(error, visit);
  }
}

async function openShare({ r, box, expires_at: expiresAt }, visit) {
  const { k1, locator } = visit.link;
  const sealed = await fetchManifest(locator);
  const key = await manifestKey(k1, fromBase64url(r));
  documentsScreen({
    documents: await openManifest(sealed, key, { box, locator, expiresAt }),
    box: fromHex(box, 16),
    locator,
    expiresAt,
    telephone: visit.number,
    look: () => look(visit),
  });
}

onNextLink(start);
start();
