// A bar, its name before it and its number behind.

import { attribute, h, show } from "./dom.js";

/** @import { Part } from "./types.js" */

/**
 * Its number is its text: the bar itself is nothing to a screen reader.
 * @param {string} label
 * @returns {Part<{part: number, words: string | null, level?: string}>}
 */
export function makeBar(label) {
  const fill = h("i");
  const bar = h("span", { class: "bar", "aria-hidden": "true" }, fill);
  const number = h("span", { class: "end" });
  const node = h("p", { class: "measure" }, h("span", { class: "muted" }, label), bar, number);
  return {
    node,
    update({ part, words, level = "accent" }) {
      const length = Math.min(Math.max(part, 0), 1).toFixed(4);
      if (fill.style.getPropertyValue("--part") !== length) fill.style.setProperty("--part", length);
      attribute(bar, "data-level", level);
      show(number, words, "it has never answered");
    },
  };
}
