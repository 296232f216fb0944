// Shows how far an upload is. Without this script the same form works, with the browser's own display.
"use strict";

for (const form of document.querySelectorAll("form.upload")) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
}

function send(form) {
  const box = form.querySelector(".progress");
  const bar = box.querySelector("progress");
  const words = box.querySelector("output");
  const button = form.querySelector("button");
  const request = new XMLHttpRequest();
  request.responseType = "document";
  request.upload.addEventListener("progress", ({ loaded, total }) => {
    bar.value = Math.floor((loaded / total) * 100);
    words.textContent = loaded < total ? `${bar.value} %` : words.dataset.working;
  });
  request.addEventListener("load", () => {
    const page = request.responseXML;
    if (request.status === 200 || !page) {
      location.assign(request.responseURL);
      return;
    }
    document.querySelector("main").replaceWith(document.adoptNode(page.querySelector("main")));
    for (const again of document.querySelectorAll("form.upload")) {
      again.addEventListener("submit", (event) => {
        event.preventDefault();
        send(again);
      });
    }
    document.querySelector("#error")?.scrollIntoView();
  });
  request.addEventListener("error", () => {
    words.textContent = words.dataset.failed;
    button.disabled = false;
  });
  request.open("POST", form.action);
  request.send(new FormData(form));
  button.disabled = true;
  box.hidden = false;
}
