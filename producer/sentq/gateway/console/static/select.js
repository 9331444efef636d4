// Selects all dead letters of the page, or none.

"use strict";

(() => {
  const all = document.getElementById("all");
  if (!all) return;
  const boxes = [...document.querySelectorAll('#letters input[name="id"]')];

  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
  });
  for (const box of boxes) {
    box.addEventListener("change", () => {
      const selected = boxes.filter((each) => each.checked).length;
      all.checked = selected === boxes.length;
      all.indeterminate = selected > 0 && !all.checked;
    });
  }
})();
