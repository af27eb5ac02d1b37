// The numbers on the card of a node: what each is called, means, and why it may be unknown.

import { h, show } from "./dom.js";
import { bytes, duration, milliseconds, nameOf, number } from "./format.js";

/** @import { Cluster, Node, Part } from "./types.js" */

/**
 * What a card is drawn from.
 * @typedef {object} Sight
 * @property {Node} node
 * @property {Cluster} cluster
 * @property {boolean} chosen Its charts are shown.
 * @property {boolean} old The node that serves this page is not heard: all of this was so.
 */

/**
 * A number with its name.
 * @typedef {object} Reading
 * @property {string} label
 * @property {string} [title] What it means.
 * @property {(sight: Sight) => string | null} value
 * @property {(node: Node, cluster: Cluster) => string} why Why it may be unknown.
 */

/** Clocks that NTP keeps differ by less than this. */
const CLOCK_SAME_MS = 10;

/** Why nothing is told of what a leader knows of a node. @type {Reading["why"]} */
export const ofAFollower = (node, { leader }) => {
  if (leader === null) return "no leader says so";
  return node.id === leader ? "it leads; this is of those that follow it" : "the leader has not said so";
};
const none = (/** @type {string} */ what) => () => `no ${what} in the last minute`;
const never = () => "it has not said so";

/**
 * What decided the election time-out.
 * @type {Record<string, string>}
 */
const REASONS = {
  fixed: "a setting",
  conservative: "little heard",
  floor: "the floor",
  gaps: "silences",
  round_trip: "round trips",
  lateness: "own lateness",
  told_by_leader: "the leader's",
  ceiling: "the ceiling",
};

/** @type {Reading[]} */
export const READINGS = [
  { label: "Term", value: ({ node }) => number(node.term), why: never },
  {
    label: "Voted for",
    title: "Whom it gave its vote in this term",
    value: ({ node, cluster }) => nameOf(node.voted_for, cluster),
    why: () => "it has given nobody its vote in this term",
  },
  { label: "Uptime", value: ({ node }) => duration(node.uptime_s === null ? null : node.uptime_s * 1000), why: never },
  { label: "Lag", title: "Entries that it lacks", value: ({ node }) => number(node.lag), why: ofAFollower },
  {
    label: "In flight",
    title: "Messages with entries that the leader has sent and that are not answered yet",
    value: ({ node: { in_flight } }) => in_flight && `${number(in_flight.messages)} · ${bytes(in_flight.bytes)}`,
    why: ofAFollower,
  },
  {
    label: "Last contact",
    title: "Since the leader last heard from it",
    value: ({ node }) =>
      (node.last_contact_ms ?? 0) < 1000 ? milliseconds(node.last_contact_ms) : duration(node.last_contact_ms),
    why: ofAFollower,
  },
  {
    label: "Round trip",
    title: "From the leader to it and back",
    value: ({ node }) => milliseconds(node.round_trip_ms),
    why: ofAFollower,
  },
  { label: "fsync p50/p99", value: ({ node }) => pair(node.fsync_p50_ms, node.fsync_p99_ms), why: none("write") },
  {
    label: "Commit p50/p99",
    title: "From the proposal to the commit, on the leader",
    value: ({ node }) => pair(node.commit_p50_ms, node.commit_p99_ms),
    why: (node) => (node.role === "leader" ? "nothing was committed in the last minute" : "only a leader measures it"),
  },
  {
    label: "Election time-out",
    title: "It stands for election when it has heard from no leader for a time in this range",
    value: ({ node: { timeouts } }) =>
      timeouts && together(milliseconds(timeouts.election_min_ms), " – ", milliseconds(timeouts.election_max_ms)),
    why: never,
  },
  {
    label: "Because of",
    title: "What decided the election time-out: settings, the bounds in them, or what was measured",
    value: ({ node: { timeouts } }) => timeouts && (REASONS[timeouts.reason] ?? timeouts.reason),
    why: never,
  },
  {
    label: "Silences p50/p99.9",
    title: "The longest silence of each interval between heartbeats",
    value: ({ node: { timeouts } }) => timeouts && pair(timeouts.gap_median_ms, timeouts.gap_high_ms),
    why: () => "it has not heard enough heartbeats yet",
  },
  {
    label: "Heartbeat every",
    value: ({ node: { timeouts } }) => timeouts && milliseconds(timeouts.heartbeat_ms),
    why: never,
  },
  {
    label: "Clock",
    title: "Against the clock of the node that serves this page, at least",
    value: ({ node }) => difference(node.clock_ahead_ms),
    why: never,
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
  { label: "Log begins at", title: "Its first entry", value: ({ node }) => number(node.first), why: never },
  {
    label: "Snapshot up to",
    title: "The last entry that its snapshot has in it",
    value: ({ node }) => (node.snapshot === 0 ? "none" : number(node.snapshot)),
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

export const DISK_READINGS = [
  onDisk("Log", "Files of the log", "log"),
  onDisk("Archive", "Files that have left the log and hold bodies of messages that still live", "archive"),
  onDisk("Snapshot", "Queues and sessions as they were at the entry that the log begins after", "snapshot"),
  onDisk("Spare", "Files that wait to be used again", "spare"),
];

/**
 * @param {Reading} reading
 * @returns {Part<Sight>}
 */
export function makeReading({ label, title, value, why }) {
  const number = h("dd");
  const node = h("div", null, h("dt", { title }, label), number);
  return {
    node,
    update(sight) {
      const silent = sight.node.seen_at === null && why !== ofAFollower;
      show(number, value(sight), silent ? "it has never answered" : why(sight.node, sight.cluster));
    },
  };
}

/**
 * @param {number | null} p50
 * @param {number | null} p99
 */
function pair(p50, p99) {
  return p50 === null || p99 === null ? null : together(milliseconds(p50), " / ", milliseconds(p99));
}

/** @param {number | null | undefined} ahead In milliseconds. */
function difference(ahead) {
  if (ahead === null || ahead === undefined) return null;
  return Math.abs(ahead) < CLOCK_SAME_MS
    ? "the same"
    : `${milliseconds(Math.abs(ahead))} ${ahead > 0 ? "ahead" : "behind"}`;
}

/**
 * Two times, with the unit once where it is the same.
 * @param {string | null} from
 * @param {string} between
 * @param {string | null} to
 */
function together(from, between, to) {
  const [number, unit] = from?.split(" ") ?? [];
  return (to?.endsWith(` ${unit}`) ? number : from) + between + to;
}
