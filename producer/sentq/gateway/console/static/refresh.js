// Loads what was found again, until it does not change any more.

"use strict";

(() => {
  async function refresh(found, delayMs) {
    try {
      const response = await fetch(location.href);
      const loaded = new DOMParser().parseFromString(await response.text(), "text/html").getElementById("found");
      if (!response.ok || !loaded) return;
      replaceContent(found, loaded.innerHTML);
      if (!loaded.dataset.refresh) return;
    } catch {
      // The gateway may be back the next time.
    }
    setTimeout(refresh, delayMs, found, delayMs);
  }

  const found = document.getElementById("found");
  const delayMs = 1000 * Number(found.dataset.refresh ?? 0);
  if (delayMs > 0) setTimeout(refresh, delayMs, found, delayMs);
})();
