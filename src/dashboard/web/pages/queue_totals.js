// Numbers in a row, each with its name: what queues hold.

import { attribute, h, list, show, text } from "../lib/dom.js";
import * as format from "../lib/format.js";

/** @import { Part, Queue, Totals } from "../lib/types.js" */

/** @typedef {{label: string, value: string | null, why: string, level?: "warn"}} Reading */

const NO_RATE = "not counted long enough";

/** What all queues hold. */
export function makeTotals() {
  const tiles = h("dl", { class: "totals card", "aria-label": "All queues" });
  return {
    node: tiles,
    /** @param {Totals} totals */
    update: (totals) =>
      draw(tiles, [
        { label: "Queues", value: format.number(totals.queues), why: "" },
        ...states(totals),
        ...rates(totals),
        { label: "Sessions", value: format.number(totals.sessions), why: "" },
      ]),
  };
}

/** What one queue holds. */
export function makeQueueTotals() {
  const tiles = h("dl", { class: "totals card", "aria-label": "This queue" });
  return {
    node: tiles,
    /** @param {Queue} queue */
    update: (queue) =>
      draw(tiles, [
        ...states(queue),
        { label: "Oldest", value: format.duration(queue.oldest_ms), why: "no message waits" },
        ...rates(queue),
      ]),
  };
}

/** @param {{ready: number, leased: number, delayed: number, dead: number, bytes: number}} of @returns {Reading[]} */
function states({ ready, leased, delayed, dead, bytes }) {
  return [
    { label: "Ready", value: format.number(ready), why: "" },
    { label: "Leased", value: format.number(leased), why: "" },
    { label: "Delayed", value: format.number(delayed), why: "" },
    { label: "Dead", value: format.number(dead), why: "", ...(dead > 0 && { level: "warn" }) },
    { label: "Bytes", value: format.bytes(bytes), why: "" },
  ];
}

/** @param {{in_rate: number | null, out_rate: number | null}} of @returns {Reading[]} */
function rates({ in_rate, out_rate }) {
  return [
    { label: "In", value: format.rate(in_rate), why: NO_RATE },
    { label: "Out", value: format.rate(out_rate), why: NO_RATE },
  ];
}

/** @param {HTMLElement} tiles @param {Reading[]} readings */
function draw(tiles, readings) {
  list(tiles, readings, ({ label }) => label, makeTile);
}

/** @param {Reading} reading @returns {Part<Reading>} */
function makeTile({ label }) {
  const value = h("dd", { class: "totals-value" });
  const name = h("dt", { class: "label" });
  text(name, label);
  return {
    node: h("div", null, name, value),
    update(reading) {
      show(value, reading.value, reading.why);
      attribute(value, "data-level", reading.level ?? null);
    },
  };
}
