// The card of a node: all that it says of itself, and what its leader says of it.

import { attribute, h, list, replace, show, text } from "./dom.js";
import { ago, bytes, duration, milliseconds, number, shortId, shortName } from "./format.js";
import { mark, roleWord, shownRole } from "./marks.js";

/** @import { Cluster, Disk, Node, Part, Transfer } from "./types.js" */

/**
 * What a card is drawn from.
 * @typedef {object} Sight
 * @property {Node} node
 * @property {Cluster} cluster
 * @property {boolean} chosen Its charts are shown.
 */

/**
 * A number with its name.
 * @typedef {object} Reading
 * @property {string} label
 * @property {string} [title] What it means.
 * @property {(sight: Sight) => string | null} value
 * @property {(node: Node) => string} why Why it may be unknown.
 */

/** So many letters of a name have room before a bar. */
const NAME_MAX = 12;

/** A disk that has less of itself free is short, or nearly full. */
const FREE_SHORT = 0.1;
const FREE_FULL = 0.03;

/** @param {string} why Why the leader says nothing of a node that does not lead. */
const fromLeader = (why) => (/** @type {Node} */ node) =>
  node.role === "leader" ? "it leads; this is of those that follow it" : why;
const OF_A_FOLLOWER = fromLeader("no leader says so");
const none = (/** @type {string} */ what) => () => `no ${what} in the last minute`;
const never = () => "it has not said so";

/** @type {Reading[]} */
const READINGS = [
  { label: "Term", value: ({ node }) => number(node.term), why: never },
  {
    label: "Voted for",
    title: "Whom it gave its vote in this term",
    value: ({ node, cluster }) => nameOf(node.voted_for, cluster),
    why: () => "it has given nobody its vote in this term",
  },
  { label: "Uptime", value: ({ node }) => duration(node.uptime_s === null ? null : node.uptime_s * 1000), why: never },
  { label: "Lag", title: "Entries that it lacks", value: ({ node }) => number(node.lag), why: OF_A_FOLLOWER },
  {
    label: "In flight",
    title: "Messages with entries that the leader has sent and that are not answered yet",
    value: ({ node: { in_flight } }) => in_flight && `${number(in_flight.messages)} · ${bytes(in_flight.bytes)}`,
    why: OF_A_FOLLOWER,
  },
  {
    label: "Last contact",
    title: "Since the leader last heard from it",
    value: ({ node }) =>
      (node.last_contact_ms ?? 0) < 1000 ? milliseconds(node.last_contact_ms) : duration(node.last_contact_ms),
    why: OF_A_FOLLOWER,
  },
  {
    label: "Round trip",
    title: "From the leader to it and back",
    value: ({ node }) => milliseconds(node.round_trip_ms),
    why: OF_A_FOLLOWER,
  },
  { label: "fsync p50/p99", value: ({ node }) => pair(node.fsync_p50_ms, node.fsync_p99_ms), why: none("write") },
  {
    label: "Commit p50/p99",
    title: "From the proposal to the commit, on the leader",
    value: ({ node }) => pair(node.commit_p50_ms, node.commit_p99_ms),
    why: (node) => (node.role === "leader" ? "nothing was committed in the last minute" : "only a leader measures it"),
  },
  {
    label: "Elections",
    title: "That it has stood for since it started",
    value: ({ node }) => number(node.elections),
    why: never,
  },
  {
    label: "Leader changes",
    title: "That it has seen since it started",
    value: ({ node }) => number(node.leader_changes),
    why: never,
  },
  { label: "Memory", value: ({ node }) => bytes(node.memory), why: never },
  {
    label: "Election time-out",
    value: ({ node: { timeouts } }) => timeouts && `${span(timeouts.election_min_ms, timeouts.election_max_ms)}`,
    why: never,
  },
  {
    label: "Heartbeat every",
    value: ({ node: { timeouts } }) => timeouts && milliseconds(timeouts.heartbeat_ms),
    why: never,
  },
  { label: "Version", value: ({ node }) => node.version || null, why: never },
];

/**
 * @param {string} label
 * @param {string} title
 * @param {"log" | "archive" | "snapshot" | "spare"} part
 * @returns {Reading}
 */
const onDisk = (label, title, part) => ({ label, title, value: ({ node }) => bytes(node.disk?.[part]), why: never });

const DISK_READINGS = [
  onDisk("Log", "Files of the log", "log"),
  onDisk("Archive", "Files that have left the log and hold bodies of messages that still live", "archive"),
  onDisk("Snapshot", "Queues and sessions as they were at the entry that the log begins after", "snapshot"),
  onDisk("Spare", "Files that wait to be used again", "spare"),
];

/**
 * @param {(id: string) => void} onCharts The reader wants the charts of this node.
 * @returns {Part<Sight>}
 */
export function makeCard(onCharts) {
  const badge = makeBadge();
  const name = h("h2");
  const kind = h("span", { class: "badge", "data-level": "plain" });
  const id = h("code", { class: "muted id" });
  const stale = h("p", { class: "stale-words warn" });
  const trouble = h("p", { class: "note", "data-level": "bad" });
  const commit = makeBar("Commit");
  const applied = makeBar("Applied");
  const disk = makeBar("Disk");
  const sizes = DISK_READINGS.map(makeReading);
  const kept = h("p", { class: "small muted" });
  const transfers = h("ul");
  const health = h("ul", { class: "health" });
  const readings = READINGS.map(makeReading);
  const log = h("a", null, "Log");
  const charts = h("button", { type: "button", class: "link", onclick: () => shown && onCharts(shown.id) }, "Charts");
  /** @type {Node | null} */
  let shown = null;
  const node = h(
    "article",
    { class: "card node-card" },
    h("header", { class: "card-head" }, badge.node, name, kind, id),
    stale,
    trouble,
    h("div", { class: "bars" }, commit.node, applied.node),
    h(
      "dl",
      { class: "readings" },
      readings.map((reading) => reading.node),
    ),
    h("div", { class: "bars" }, disk.node),
    h(
      "dl",
      { class: "readings four" },
      sizes.map((size) => size.node),
    ),
    kept,
    transfers,
    h("footer", null, health, h("div", { class: "row" }, log, charts)),
  );

  /** @param {Sight} sight */
  function update(sight) {
    const { node: value, cluster, chosen } = sight;
    shown = value;
    const longest = Math.max(1, ...cluster.nodes.map((each) => each.last ?? 0));
    badge.update(value);
    text(name, value.name);
    attribute(node, "aria-label", value.name);
    attribute(node, "class", `card node-card${value.reachable ? "" : " stale"}${chosen ? " chosen" : ""}`);
    text(kind, kindOf(value, cluster));
    attribute(kind, "hidden", kind.textContent === "");
    text(id, shortId(value.id));
    attribute(id, "title", `${value.id}, clients ${value.client_address}, peers ${value.peer_address}`);
    text(stale, value.reachable ? "" : staleWords(value, cluster.now));
    attribute(stale, "hidden", value.reachable);
    text(trouble, value.trouble ?? "");
    attribute(trouble, "hidden", !value.trouble);
    commit.update({ part: (value.commit ?? 0) / longest, words: number(value.commit) });
    applied.update({ part: (value.applied ?? 0) / longest, words: number(value.applied) });
    for (const reading of readings) reading.update(sight);
    for (const size of sizes) size.update(sight);
    showDisk(value.disk);
    list(
      transfers,
      value.transfers ?? [],
      (each) => `${each.peer}/${each.sends}`,
      (each) => makeTransfer(each, cluster),
    );
    list(health, healthOf(value), (each) => each.what, makeCondition);
    attribute(log, "href", `#/log?node=${value.id}`);
    attribute(log, "aria-label", `Log of ${value.name}`);
    attribute(charts, "aria-label", `Charts of ${value.name}`);
    attribute(charts, "aria-pressed", String(chosen));
  }

  /** @param {Disk | null} value */
  function showDisk(value) {
    const free = value?.free ?? null;
    const total = value?.total ?? null;
    const part = free === null || !total ? null : free / total;
    const level = part === null || part > FREE_SHORT ? "muted" : part > FREE_FULL ? "warn" : "bad";
    disk.update({ part: part === null ? 0 : 1 - part, words: free === null ? null : `${bytes(free)} free`, level });
    text(kept, value?.oldest_kept_for ? `The oldest file is kept for ${value.oldest_kept_for}.` : "");
    attribute(kept, "title", value?.oldest_file);
  }

  return { node, update };
}

/** The role of a node as shape, word and colour. */
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

/**
 * @param {Reading} reading
 * @returns {Part<Sight>}
 */
function makeReading({ label, title, value, why }) {
  const number = h("dd");
  const node = h("div", null, h("dt", { title }, label), number);
  return {
    node,
    update: (sight) =>
      show(number, value(sight), sight.node.seen_at === null ? "it has never answered" : why(sight.node)),
  };
}

/**
 * A bar, its name and its number.
 * @param {string} label
 * @returns {Part<{part: number, words: string | null, level?: string}>}
 */
function makeBar(label) {
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

/**
 * @param {Transfer} transfer
 * @param {Cluster} cluster
 * @returns {Part<Transfer>}
 */
function makeTransfer(transfer, cluster) {
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
  if (!node.reachable || node.health === null) return [];
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
 * What is to be said beside the role.
 * @param {Node} node
 * @param {Cluster} cluster
 */
function kindOf(node, cluster) {
  const membership = {
    voter: "",
    learner: node.role === "learner" ? "" : "learner",
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

/**
 * @param {string | null} id
 * @param {Cluster} cluster
 */
function nameOf(id, cluster) {
  return id ? (cluster.nodes.find((node) => node.id === id)?.name ?? shortId(id)) : null;
}

/**
 * @param {number | null} p50
 * @param {number | null} p99
 */
function pair(p50, p99) {
  return p50 === null || p99 === null ? null : `${milliseconds(p50)?.replace(/ ms$/, "")} / ${milliseconds(p99)}`;
}

/**
 * @param {number} from
 * @param {number} to
 */
function span(from, to) {
  return from === to ? milliseconds(from) : `${milliseconds(from)?.replace(/ (ms|s)$/, "")} – ${milliseconds(to)}`;
}
