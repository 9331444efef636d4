// What all scripts of the console use.

"use strict";

document.documentElement.classList.add("js");

/**
 * Replace the content of an element, unless a person works in it: the focus or a selection would be
 * lost.
 * @param {Element} element
 * @param {string} html What the server has rendered and escaped.
 */
function replaceContent(element, html) {
  const selection = document.getSelection();
  const isSelected = selection && !selection.isCollapsed && element.contains(selection.anchorNode);
  if (isSelected || element.contains(document.activeElement)) return;
  const template = document.createElement("template");
  template.innerHTML = html;
  element.replaceChildren(template.content);
}
