// The card of a node: all that it says of itself, and what its leader says of it.

import { makeBadge } from "./badge.js";
import { makeBar } from "./bar.js";
import { attribute, h, list, text } from "./dom.js";
import { ago, bytes, number, shortId } from "./format.js";
import { mark } from "./marks.js";
import { DISK_READINGS, READINGS, makeReading } from "./readings.js";
import { makeTransfer } from "./transfer.js";

/** @import { Cluster, Node, Part } from "./types.js" */
/** @import { Sight } from "./readings.js" */

/** A disk that has less of itself free is short, or nearly full. */
const FREE_SHORT = 0.1;
const FREE_FULL = 0.03;

/**
 * @param {(id: string) => void} onCharts The reader wants the charts of this node.
 * @returns {Part<Sight>}
 */
export function makeCard(onCharts) {
  const parts = [makeHead(), makeLog(), makeReadings(READINGS, ""), makeDisk(), makeTransfers(), makeFoot(onCharts)];
  const node = h(
    "article",
    { class: "card node-card" },
    parts.map((part) => part.node),
  );
  return {
    node,
    update(sight) {
      const { reachable, name } = sight.node;
      const stale = sight.old || !reachable;
      attribute(node, "aria-label", name);
      attribute(node, "class", `card node-card${stale ? " stale" : ""}${sight.chosen ? " chosen" : ""}`);
      for (const part of parts) part.update(sight);
    },
  };
}

/**
 * Who it is, and what keeps it from its part.
 * @returns {Part<Sight>}
 */
function makeHead() {
  const badge = makeBadge();
  const name = h("h2");
  const kind = h("span", { class: "badge", "data-level": "plain" });
  const id = h("code", { class: "muted id" });
  const stale = h("p", { class: "warn" });
  const trouble = h("p", { class: "note", "data-level": "bad" });
  const node = h(
    "header",
    { class: "stack tight" },
    h("div", { class: "card-head" }, badge.node, name, kind, id),
    stale,
    trouble,
  );
  return {
    node,
    update({ node: value, cluster, old }) {
      badge.update(value);
      text(name, value.name);
      text(id, shortId(value.id));
      attribute(id, "title", `${value.id}, clients ${value.client_address}, peers ${value.peer_address}`);
      tell(kind, kindOf(value, cluster));
      tell(stale, !value.reachable ? staleWords(value, cluster.now) : old ? "These are its last values." : "");
      tell(trouble, value.trouble ?? "");
    },
  };
}

/**
 * How much of the log it has, against the node that has most.
 * @returns {Part<Sight>}
 */
function makeLog() {
  const commit = makeBar("Commit");
  const applied = makeBar("Applied");
  return {
    node: h("div", { class: "bars" }, commit.node, applied.node),
    update({ node, cluster }) {
      const longest = Math.max(1, ...cluster.nodes.map((each) => each.last ?? 0));
      commit.update({ part: (node.commit ?? 0) / longest, words: number(node.commit) });
      applied.update({ part: (node.applied ?? 0) / longest, words: number(node.applied) });
    },
  };
}

/**
 * @param {import("./readings.js").Reading[]} readings
 * @param {string} kind
 * @returns {Part<Sight>}
 */
function makeReadings(readings, kind) {
  const parts = readings.map(makeReading);
  const node = h(
    "dl",
    { class: ["readings", kind] },
    parts.map((part) => part.node),
  );
  return { node, update: (sight) => parts.forEach((part) => part.update(sight)) };
}

/**
 * What it has on its disk, and why it keeps the oldest of it.
 * @returns {Part<Sight>}
 */
function makeDisk() {
  const bar = makeBar("Disk");
  const sizes = makeReadings(DISK_READINGS, "four");
  const kept = h("p", { class: "small muted" });
  return {
    node: h("div", { class: "stack tight" }, h("div", { class: "bars" }, bar.node), sizes.node, kept),
    update(sight) {
      const disk = sight.node.disk;
      const free = disk?.free ?? null;
      const share = free === null || !disk?.total ? null : free / disk.total;
      const level = share === null || share > FREE_SHORT ? "muted" : share > FREE_FULL ? "warn" : "bad";
      bar.update({ part: share === null ? 0 : 1 - share, words: free === null ? null : `${bytes(free)} free`, level });
      sizes.update(sight);
      tell(kept, disk?.oldest_kept_for ? `Why the oldest file is kept: ${disk.oldest_kept_for}.` : "");
      attribute(kept, "title", disk?.oldest_file);
    },
  };
}

/** @returns {Part<Sight>} */
function makeTransfers() {
  const node = h("ul");
  return {
    node,
    update: ({ node: { transfers }, cluster }) =>
      list(
        node,
        transfers ?? [],
        (each) => `${each.peer}/${each.sends}`,
        (each) => makeTransfer(each, cluster),
      ),
  };
}

/**
 * Whether it is well, and where there is more of it.
 * @param {(id: string) => void} onCharts
 * @returns {Part<Sight>}
 */
function makeFoot(onCharts) {
  const health = h("ul", { class: "health" });
  const log = h("a", null, "Log");
  const charts = h("button", { type: "button", class: "link", onclick: () => onCharts(id) }, "Charts");
  let id = "";
  return {
    node: h("footer", null, health, h("div", { class: "row" }, log, charts)),
    update({ node, chosen, old }) {
      id = node.id;
      list(health, old ? [] : healthOf(node), (each) => each.what, makeCondition);
      attribute(log, "href", `#/log?node=${id}`);
      attribute(log, "aria-label", `Log of ${node.name}`);
      attribute(charts, "aria-label", `Charts of ${node.name}`);
      attribute(charts, "aria-pressed", String(chosen));
    },
  };
}

/**
 * @typedef {object} Finding
 * @property {string} what
 * @property {boolean} good
 * @property {string} words
 */

/**
 * Each condition that is missing, with its reason; one line that all is well when none is.
 * @param {Node} node
 * @returns {Finding[]}
 */
function healthOf(node) {
  if (!node.reachable || !node.health?.length) return [];
  const missing = node.health.filter((each) => each.missing !== null);
  if (missing.length > 0)
    return missing.map(({ what, missing }) => ({
      what,
      good: false,
      words: `Missing: ${what} (${missing})`,
    }));
  return [{ what: "", good: true, words: `Healthy: ${node.health.map((each) => each.what).join(", ")}` }];
}

/**
 * @param {Finding} finding
 * @returns {Part<Finding>}
 */
function makeCondition({ good }) {
  const words = h("span");
  const node = h("li", { class: good ? "good" : "bad" }, mark(good ? "good" : "critical"), words);
  return { node, update: (finding) => text(words, finding.words) };
}

/**
 * Shows words where there are any.
 * @param {HTMLElement} node
 * @param {string} words
 */
function tell(node, words) {
  text(node, words);
  attribute(node, "hidden", words === "");
}

/**
 * What is to be said beside the role.
 * @param {Node} node
 * @param {Cluster} cluster
 */
function kindOf(node, cluster) {
  const membership = {
    voter: "",
    learner: node.role === "learner" ? "" : node.role === "outsider" ? "nothing of the log yet" : "learner",
    leaving: "leaving",
    none: "no member",
  }[node.membership];
  return [membership, node.id === cluster.asked.id && "serves this page"].filter(Boolean).join(" · ");
}

/**
 * @param {Node} node
 * @param {number} now
 */
function staleWords(node, now) {
  if (node.seen_at === null) return "It has never answered this node.";
  return `Last seen ${ago(node.seen_at, now)}; these are its last values.`;
}
