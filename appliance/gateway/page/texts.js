/**
 * Every sentence of the page, in German and English. Plain words: link, PIN, document, practice; no others.
 *
 * A sentence with a gap is a function. The first language is the browser's; the person may switch.
 */

const german = {
  language: "de",
  switchTo: { language: "en", label: "English" },
  wait: "Einen Moment bitte\u00a0…",
  documents: "Ihre Dokumente",
  from: (practice) => `${practice} hat Dokumente für Sie bereitgelegt.`,
  pin: "Ihre PIN",
  pinHint: "6 bis 8 Ziffern. Die Praxis hat sie Ihnen getrennt vom Link gegeben.",
  pinShort: "Die PIN hat 6 bis 8 Ziffern.",
  openAll: "Weiter",
  wrongPin: (left) => `Die PIN stimmt nicht. Sie haben noch ${tries(left)}.`,
  triesLeft: (left) => `Sie haben noch ${tries(left)}.`,
  lost: "Sie haben keine PIN? Rufen Sie die Praxis an:",
  call: "Telefon der Praxis:",
  until: (date) => `Sie können die Dokumente bis ${date} öffnen.`,
  finished: "Wenn Sie fertig sind, schließen Sie dieses Fenster. Auf diesem Gerät bleibt nur, was Sie gespeichert haben.",
  count: (count) => (count === 1 ? "1 Dokument" : `${count} Dokumente`),
  empty: "Es liegen keine Dokumente bereit. Bitte rufen Sie die Praxis an.",
  open: "Öffnen",
  save: "Speichern",
  openThis: (title) => `${title} öffnen`,
  saveThis: (title) => `${title} speichern`,
  back: "Zurück",
  stop: "Abbrechen",
  opening: (title) => `„${title}“ wird geöffnet`,
  saving: (title) => `„${title}“ wird gespeichert`,
  progress: (percent, all) => `${percent} % von ${all}`,
  broken: "Die Verbindung ist unterbrochen. Es geht gleich von selbst weiter …",
  flowing: "Die Verbindung ist wieder da.",
  saved: (title) => `„${title}“ ist gespeichert. Sie finden es auf Ihrem Gerät im Ordner „Downloads“.`,
  stopped: "Abgebrochen. Es wurde nichts gespeichert.",
  failed: "Die Verbindung kam nicht zustande. Es wurde nichts gespeichert. Bitte versuchen Sie es noch einmal.",
  cannotSave: "Dieses Gerät kann eine so große Datei nicht speichern. Bitte öffnen Sie den Link auf einem Computer.",
  notSaved: "Die Datei konnte nicht gespeichert werden. Ist auf dem Gerät noch Platz?",
  cannotShow: {
    damaged: "Dieses Dokument lässt sich hier nicht anzeigen. Speichern Sie es und öffnen Sie es auf Ihrem Gerät.",
    password: "Dieses Dokument hat ein eigenes Passwort. Speichern Sie es und öffnen Sie es auf Ihrem Gerät.",
  },
  tooWide: "Die Zeilen sind breiter als der Bildschirm. Halten Sie das Gerät quer, oder schieben Sie den Text mit dem Finger.",
  printPdf: "Zum Drucken speichern Sie das Dokument und drucken die gespeicherte Datei.",
  again: "Noch einmal versuchen",
  kinds: {
    finding: "Befund",
    lab: "Laborwerte",
    invoice: "Rechnung",
    sick_note: "Krankschreibung",
    letter: "Brief",
    image: "Bild",
    radiotherapy: "Strahlenbehandlung",
  },
  otherKind: "Dokument",
  previewOnly: "Hier sehen Sie ein verkleinertes Bild. Mit „Speichern“ bekommen Sie die vollständige Datei.",
  viewer: {
    tools: "Darstellung",
    document: "Dokument",
    smaller: "Kleiner",
    larger: "Größer",
    page: "Seite",
    place: "Seite {page} von {pages}",
  },
  messages: {
    missing: [
      "Der Link ist nicht vollständig",
      "Bitte öffnen Sie den Link noch einmal, vom Blatt der Praxis oder aus der Nachricht. Er muss ganz da sein, bis " +
        "zum letzten Zeichen. Auch wenn Sie diese Seite neu geladen haben, brauchen Sie den Link noch einmal.",
      "Hilft das nicht, rufen Sie Ihre Praxis an.",
    ],
    leaked: [
      "Dieser Link wurde unterwegs verändert",
      "Ein Programm hat den Link so verändert, dass er nicht mehr geheim ist. Darum öffnen wir ihn nicht.",
      "Bitte rufen Sie Ihre Praxis an. Sie bekommen einen neuen Link.",
    ],
    unknown: [
      "Diesen Link kennen wir nicht",
      "Bitte prüfen Sie, ob der Link vollständig ist, bis zum letzten Zeichen. Vielleicht ist er auch nicht mehr gültig.",
      "Rufen Sie sonst Ihre Praxis an. Die Telefonnummer steht auf dem Blatt der Praxis.",
    ],
    expired: [
      "Dieser Link ist abgelaufen",
      "Die Dokumente sind noch in der Praxis. Rufen Sie an, dann bekommen Sie einen neuen Link.",
    ],
    revoked: [
      "Die Praxis hat diesen Link zurückgezogen",
      "Er öffnet nichts mehr. Rufen Sie die Praxis an, wenn Sie die Dokumente brauchen.",
    ],
    closed: [
      "Dieser Link ist gesperrt",
      "Die PIN war zu oft falsch. Das schützt Ihre Dokumente. Rufen Sie die Praxis an, dann bekommen Sie einen neuen Link.",
    ],
    unreachable: [
      "Die Praxis ist gerade nicht erreichbar",
      "Bitte versuchen Sie es in einigen Minuten noch einmal. Es ist nichts verloren.",
    ],
    tampered: [
      "Dieses Dokument ist nicht unversehrt angekommen",
      "Es wurde unterwegs verändert oder beschädigt. Darum zeigen und speichern wir es nicht.",
      "Bitte versuchen Sie es noch einmal. Bleibt es so, sagen Sie es Ihrer Praxis.",
    ],
    unsupported: [
      "Dieses Gerät kann Ihre Dokumente nicht öffnen",
      "Das Programm, mit dem Sie ins Internet gehen, ist dafür zu alt. Bitte nehmen Sie ein neueres Gerät, oder rufen " +
        "Sie Ihre Praxis an.",
    ],
  },
};

const english = {
  language: "en",
  switchTo: { language: "de", label: "Deutsch" },
  wait: "One moment please\u00a0…",
  documents: "Your documents",
  from: (practice) => `${practice} has documents for you.`,
  pin: "Your PIN",
  pinHint: "6 to 8 digits. The practice gave it to you separately from the link.",
  pinShort: "The PIN has 6 to 8 digits.",
  openAll: "Continue",
  wrongPin: (left) => `The PIN is not right. You have ${englishTries(left)} left.`,
  triesLeft: (left) => `You have ${englishTries(left)} left.`,
  lost: "You have no PIN? Call the practice:",
  call: "The practice's telephone:",
  until: (date) => `You can open the documents until ${date}.`,
  finished: "When you have finished, close this window. Only what you have saved stays on this device.",
  count: (count) => (count === 1 ? "1 document" : `${count} documents`),
  empty: "There are no documents. Please call the practice.",
  open: "Open",
  save: "Save",
  openThis: (title) => `Open ${title}`,
  saveThis: (title) => `Save ${title}`,
  back: "Back",
  stop: "Stop",
  opening: (title) => `Opening “${title}”`,
  saving: (title) => `Saving “${title}”`,
  progress: (percent, all) => `${percent}% of ${all}`,
  broken: "The connection was interrupted. It will go on by itself in a moment …",
  flowing: "The connection is back.",
  saved: (title) => `“${title}” is saved. You find it on your device in the folder “Downloads”.`,
  stopped: "Stopped. Nothing was saved.",
  failed: "The connection failed. Nothing was saved. Please try again.",
  cannotSave: "This device cannot save such a large file. Please open the link on a computer.",
  notSaved: "The file could not be saved. Is there still room on the device?",
  cannotShow: {
    damaged: "This document cannot be shown here. Save it and open it on your device.",
    password: "This document has a password of its own. Save it and open it on your device.",
  },
  tooWide: "The lines are wider than the screen. Turn your device sideways, or push the text with your finger.",
  printPdf: "To print, save the document and print the saved file.",
  again: "Try again",
  kinds: {
    finding: "Finding",
    lab: "Lab results",
    invoice: "Invoice",
    sick_note: "Sick note",
    letter: "Letter",
    image: "Image",
    radiotherapy: "Radiotherapy",
  },
  otherKind: "Document",
  previewOnly: "You see a smaller picture here. “Save” gives you the complete file.",
  viewer: {
    tools: "View",
    document: "Document",
    smaller: "Smaller",
    larger: "Larger",
    page: "Page",
    place: "Page {page} of {pages}",
  },
  messages: {
    missing: [
      "The link is not complete",
      "Please open the link again, from the practice's sheet or the message. All of it must be there, to the last " +
        "character. If you have loaded this page again, you need the link once more too.",
      "If that does not help, call your practice.",
    ],
    leaked: [
      "This link was changed on its way",
      "A program has changed the link so that it is no longer secret. So we do not open it.",
      "Please call your practice. You will get a new link.",
    ],
    unknown: [
      "We do not know this link",
      "Please check that the link is complete, to the last character. It may also be no longer valid.",
      "Otherwise call your practice. The telephone number is on the practice's sheet.",
    ],
    expired: [
      "This link has expired",
      "The documents are still at the practice. Call, and you will get a new link.",
    ],
    revoked: [
      "The practice has withdrawn this link",
      "It opens nothing any more. Call the practice if you need the documents.",
    ],
    closed: [
      "This link is locked",
      "The PIN was wrong too often. That protects your documents. Call the practice, and you will get a new link.",
    ],
    unreachable: [
      "The practice cannot be reached just now",
      "Please try again in a few minutes. Nothing is lost.",
    ],
    tampered: [
      "This document did not arrive intact",
      "It was changed or damaged on its way. So we neither show nor save it.",
      "Please try again. If it stays like this, tell your practice.",
    ],
    unsupported: [
      "This device cannot open your documents",
      "The program with which you use the internet is too old for it. Please use a newer device, or call your practice.",
    ],
  },
};

function tries(left) {
  return left === 1 ? "1 Versuch" : `${left} Versuche`;
}

function englishTries(left) {
  return left === 1 ? "1 try" : `${left} tries`;
}

export const TEXTS = { de: german, en: english };

/** The language to begin with: German for a German browser, else English. */
export function firstLanguage(languages) {
  const known = languages.map((name) => name.slice(0, 2).toLowerCase()).find((name) => name in TEXTS);
  return known ?? "en";
}

/** A size in the reader's words: "1,2 MB". */
export function sizeInWords(bytes, language) {
  const units = ["kilobyte", "megabyte", "gigabyte"];
  const step = bytes < 999_500 ? 0 : bytes < 999_500_000 ? 1 : 2;
  const value = Math.max(bytes / 1000 ** (step + 1), 1 / 10);
  const form = { style: "unit", unit: units[step], maximumFractionDigits: value < 10 && step > 0 ? 1 : 0 };
  return new Intl.NumberFormat(language, form).format(step === 0 ? Math.ceil(value) : value);
}

/** A day and time in the reader's words; `seconds` is Unix time. */
export function dayInWords(seconds, language) {
  const form = { dateStyle: "long", timeStyle: "short" };
  return new Intl.DateTimeFormat(language, form).format(new Date(seconds * 1000));
}
