// Both languages say the same things, and neither uses the words of our trade.

import assert from "node:assert/strict";
import { test } from "node:test";

import { TEXTS, dayInWords, firstLanguage, sizeInWords } from "../../appliance/gateway/page/texts.js";

/** Words of our trade; tests/practice/test_texts.py holds the papers to the same list. */
const TRADE =
  /token|server|session|sitzung|manifest|schlüssel\b|\bkey\b|cache|cookie|browser|javascript|http|krypt|crypt|tls|hash|fragment|url|login|log in|einlogg|account|upload|hochlad|klick|\bclick|\btab\b|website|webseite|online|datenbank|database|zertifikat|certificate|format|byte|pdf|dicom|heic/i;
const MAX_WORDS = 20;

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
  for (const texts of Object.values(TEXTS)) {
    for (const [path, sentence] of sentences(texts)) assert.doesNotMatch(sentence, TRADE, path);
  }
});

test("no sentence is longer than a person of 80 follows at once", () => {
  for (const texts of Object.values(TEXTS)) {
    for (const [path, text] of sentences(texts)) {
      for (const sentence of text.split(/[.:!?…]\s|\n/)) {
        assert.ok(sentence.split(/\s+/).length <= MAX_WORDS, `${path}: ${sentence}`);
      }
    }
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
