// The words of two sheets: counts them while they are typed, and keeps them in their fields when something is wrong,
// for the box shows no word again. Without this script the same form works, and the words have to be typed anew.
"use strict";

for (const form of document.querySelectorAll("form.sheets")) {
  for (const output of form.querySelectorAll("output[data-counted]")) {
    const area = document.getElementById(output.htmlFor.value);
    const count = () => {
      // Longer than any word: first letters of several, with nothing between them (formats/kit_sheets.py).
      const runs = area.value.toLowerCase().match(/[a-z]+/g) || [];
      const number = runs.reduce((sum, run) => sum + (run.length > 8 ? Math.ceil(run.length / 4) : 1), 0);
      output.textContent = output.dataset.counted.replace("{number}", String(number));
      output.parentElement.hidden = number === 0;
    };
    area.addEventListener("input", count);
    count();
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}

function send(form) {
  const button = form.querySelector("button");
  const request = new XMLHttpRequest();
  request.responseType = "document";
  request.addEventListener("load", () => {
    const wrong = request.responseXML?.querySelector("form.sheets") && request.responseXML.querySelector("#error");
    if (!wrong) {
      location.assign(request.responseURL);
      return;
    }
    show(form, document.adoptNode(wrong), request.responseXML);
    button.disabled = false;
  });
  request.addEventListener("error", () => {
    const words = document.createElement("p");
    words.textContent = form.dataset.failed;
    const wrong = document.createElement("div");
    wrong.id = "error";
    wrong.className = "wrong";
    wrong.setAttribute("role", "alert");
    wrong.append(words);
    show(form, wrong, null);
    button.disabled = false;
  });
  request.open("POST", form.action);
  request.send(new URLSearchParams(new FormData(form)));
  button.disabled = true;
}

function show(form, wrong, page) {
  document.querySelector("#error")?.remove();
  form.before(wrong);
  for (const field of form.querySelectorAll(".field")) {
    const control = field.querySelector("textarea, input");
    const isWrong = Boolean(page?.getElementById(control.id)?.closest(".invalid"));
    field.classList.toggle("invalid", isWrong);
    control.toggleAttribute("aria-invalid", isWrong);
    if (isWrong) control.focus();
  }
  wrong.scrollIntoView();
}
