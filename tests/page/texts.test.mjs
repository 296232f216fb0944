// Both languages say the same things, and neither uses the words of our trade.

import assert from "node:assert/strict";
import { test } from "node:test";

import { TEXTS, dayInWords, firstLanguage, sizeInWords } from "../../appliance/gateway/page/texts.js";

/** Every sentence by its path; a gap is filled so that the whole sentence is there. */
function sentences(texts, path = "") {
  return Object.entries(texts).flatMap(([name, value]) => {
    const here = `${path}.${name}`;
    if (typeof value === "function") return [[here, value(2, "1", "2")]];
    return typeof value === "string" ? [[here, value]] : sentences(value, here);
  });
}

test("German and English have the same sentences", () => {
  const paths = (texts) => sentences(texts).map(([path]) => path);
  assert.deepEqual(paths(TEXTS.de), paths(TEXTS.en));
});

test("no sentence uses the words of our trade", () => {
  const trade = /token|server|session|manifest|schlüssel\b|\bkey\b|browser-cache|http|krypt|decrypt|tls|hash|fragment|url/i;
  for (const texts of Object.values(TEXTS)) {
    for (const [path, sentence] of sentences(texts)) assert.doesNotMatch(sentence, trade, path);
  }
});

test("the browser's first known language is taken, else English", () => {
  assert.equal(firstLanguage(["de-AT", "en"]), "de");
  assert.equal(firstLanguage(["tr-TR", "de"]), "de");
  assert.equal(firstLanguage(["tr"]), "en");
  assert.equal(firstLanguage([]), "en");
});

test("sizes and days are in the reader's words", () => {
  assert.equal(sizeInWords(1, "de"), "1 kB");
  assert.equal(sizeInWords(999_499, "de"), "1.000 kB");
  assert.equal(sizeInWords(1_250_000, "de"), "1,3 MB");
  assert.equal(sizeInWords(536_870_912, "en"), "537 MB");
  assert.match(dayInWords(1_800_000_000, "de"), /Januar 2027/);
});
