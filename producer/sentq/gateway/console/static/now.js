// Replaces the parts of the page that have changed, as the server sends them.

"use strict";

(() => {
  const state = document.getElementById("state");
  const FAILURES_UNTIL_RELOAD = 3;
  const RELOAD_MS = 15000;
  let failures = 0;

  function show(text, kind) {
    if (state.textContent === text) return;
    state.textContent = text;
    state.className = `state ${kind}`;
  }

  const events = new EventSource("/console/now/events");

  events.addEventListener("open", () => {
    failures = 0;
    show("Live", "live");
  });
  events.addEventListener("parts", (event) => {
    show("Live", "live");
    for (const [name, html] of Object.entries(JSON.parse(event.data))) {
      const part = document.querySelector(`[data-part="${name}"]`);
      if (part) replaceContent(part, html);
    }
  });
  events.addEventListener("outage", () => show("Redis does not answer", "away"));
  events.addEventListener("ended", () => {
    events.close();
    location.reload();
  });
  events.addEventListener("error", () => {
    failures += 1;
    show("Not connected; trying again", "away");
    const isClosed = events.readyState === EventSource.CLOSED;
    if (isClosed || failures === FAILURES_UNTIL_RELOAD) {
      // A proxy may not let streams through. The page itself may still come.
      events.close();
      show("Loaded again every 15 s", "");
      setTimeout(() => location.reload(), RELOAD_MS);
    }
  });
})();
