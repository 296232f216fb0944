/**
 * What the person sees: one screen at a time, built from elements, never from HTML text.
 *
 * A screen is a function of the texts that gives nodes; switching the language draws the same screen again.
 */

import { TEXTS, firstLanguage } from "./texts.js";

const main = document.getElementById("main");
const practiceName = document.getElementById("practice");
const announcement = document.getElementById("announcement");
const languageSwitch = document.getElementById("language");

let texts = TEXTS[firstLanguage(navigator.languages ?? [])];
let current = () => [];
let release = () => undefined;

/** Makes an element; functions among the attributes are listeners, `null` children are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value !== null && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Shows a screen; `onLeave` runs when another one takes its place. Gives the first heading the focus. */
export function show(screen, { wide = false, onLeave = () => undefined } = {}) {
  release();
  release = onLeave;
  current = screen;
  document.body.className = wide ? "wide" : "";
  draw();
  const first = main.querySelector("[data-first]") ?? main.querySelector("h1");
  first?.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function draw() {
  document.documentElement.lang = texts.language;
  languageSwitch.textContent = texts.switchTo.label;
  languageSwitch.lang = texts.switchTo.language;
  main.replaceChildren(...current(texts).filter((node) => node !== null));
}

/** Says something to screen readers, in the words of the moment. */
export function announce(sentence) {
  announcement.textContent = sentence(texts);
}

/** Puts the practice's name at the head of the page. */
export function setPractice(name) {
  practiceName.textContent = name;
}

languageSwitch.addEventListener("click", () => {
  texts = TEXTS[texts.switchTo.language];
  announcement.textContent = "";
  draw();
});

export function heading(text) {
  return element("h1", { tabindex: "-1" }, text);
}

export function paragraph(text, style = null) {
  return element("p", { class: style }, text);
}

export function button(text, click, { style = null, label = null } = {}) {
  return element("button", { type: "button", class: style, "aria-label": label, click }, text);
}

/** The practice's telephone number as a link that dials; nothing where none is known. */
export function telephone(number, before) {
  if (!number) return null;
  const dialled = number.replace(/[^+0-9]/g, "");
  return element("p", {}, before, element("br"), element("a", { class: "telephone", href: `tel:${dialled}` }, number));
}

/** The screen that says what happened and what to do. `again` offers another attempt. */
export function messageScreen(name, { number = "", again = null } = {}) {
  return (words) => {
    const [title, ...sentences] = words.messages[name];
    return [
      heading(title),
      ...sentences.map((sentence) => paragraph(sentence)),
      telephone(number, words.call),
      again ? button(words.again, again) : null,
    ];
  };
}
