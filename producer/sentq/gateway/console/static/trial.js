// Scores the text while it is typed, a moment after the last key.

"use strict";

(() => {
  const form = document.getElementById("trial");
  const text = document.getElementById("text");
  const result = document.getElementById("result");
  const DEBOUNCE_MS = 400;
  let timer = 0;
  let running = null;

  async function score() {
    clearTimeout(timer);
    running?.abort();
    const own = (running = new AbortController());
    const fields = new URLSearchParams(new FormData(form));
    fields.set("part", "1");
    result.setAttribute("aria-busy", "true");
    try {
      const response = await fetch(form.action, { method: "POST", body: fields, signal: own.signal });
      if (response.redirected) {
        location.reload();
        return;
      }
      if (response.ok) replaceContent(result, await response.text());
      else result.textContent = "The gateway did not accept the text. Load the page again.";
    } catch (error) {
      if (own.signal.aborted) return;
      result.textContent = "The gateway does not answer.";
    }
    result.setAttribute("aria-busy", "false");
  }

  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(score, DEBOUNCE_MS);
  });
  form.elements.detail.addEventListener("change", score);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    score();
  });
})();
