// A snapshot on its way: whose, and how much of it has arrived.

import { makeBar } from "./bar.js";
import { h, text } from "./dom.js";
import { bytes, nameOf, number, shortName } from "./format.js";

/** @import { Cluster, Part, Transfer } from "./types.js" */

/** So many letters of a name have room before a bar. */
const NAME_MAX = 12;

/**
 * @param {Transfer} transfer
 * @param {Cluster} cluster
 * @returns {Part<Transfer>}
 */
export function makeTransfer(transfer, cluster) {
  const peer = shortName(nameOf(transfer.peer, cluster) ?? "", NAME_MAX);
  const bar = makeBar(transfer.sends ? `Snapshot to ${peer}` : `Snapshot from ${peer}`);
  const words = h("p", { class: "small muted" });
  return {
    node: h("li", { class: "bars" }, bar.node, words),
    update(value) {
      const part = progress(value);
      bar.update({
        part: part ?? 0,
        words: part === null ? `${bytes(value.file_bytes)}` : `${Math.floor(part * 100)} %`,
      });
      text(words, `up to entry ${number(value.index)}: ${transferred(value)}`);
    },
  };
}

/** @param {Transfer} transfer */
function transferred({ file_bytes, file_bytes_total, bodies, bodies_total }) {
  const file = `${bytes(file_bytes)}${file_bytes_total ? ` of ${bytes(file_bytes_total)}` : ""}`;
  return `${file}, ${number(bodies)}${bodies_total ? ` of ${number(bodies_total)}` : ""} bodies`;
}

/**
 * The file and the bodies count for a half each. Null: not known how much there is.
 * @param {Transfer} transfer
 */
function progress({ file_bytes, file_bytes_total, bodies, bodies_total }) {
  if (!file_bytes_total) return null;
  const file = file_bytes / file_bytes_total;
  return bodies_total === null ? file : (file + (bodies_total === 0 ? file : bodies / bodies_total)) / 2;
}
