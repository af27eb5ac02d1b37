// The role of a node as shape, word and colour.

import { attribute, h, replace, text } from "./dom.js";
import { mark, roleWord, shownRole } from "./marks.js";

/** @import { Node, Part } from "./types.js" */

/** @returns {Part<Node>} */
export function makeBadge() {
  const word = h("span");
  const node = h("span", { class: "badge" });
  let shown = "";
  /** @param {Node} value */
  function update(value) {
    const role = shownRole(value);
    if (role === shown) return;
    shown = role;
    text(word, roleWord(role));
    attribute(node, "data-role", role);
    replace(node, mark(role), word);
  }
  return { node, update };
}
