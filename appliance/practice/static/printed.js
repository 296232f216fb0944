// Once a sheet was opened for printing, going on is what the page is for: its button becomes the one that stands out.
// Without this script the same buttons do the same.
"use strict";

const sheets = document.querySelectorAll(".print-choice a");
for (const sheet of sheets) {
  sheet.addEventListener("click", () => {
    for (const each of sheets) each.classList.add("second");
    document.querySelector("button.next").classList.remove("second");
  });
}
