// Who belonged to the cluster when, as the events about configurations tell it. They name nodes, and a node that takes
// the place of another has its name. Pure: no document, no clock.

/** @import { Event } from "../lib/types.js" */

/** @typedef {"voter" | "learner" | "none"} Kind */
/** @typedef {{at: number, kind: Kind, event: Event}} Membership  what a node is from a moment on */
/** @typedef {Record<"voters" | "outgoing" | "learners", string[]>} Names */
/** @typedef {Names & {at: number, event: Event, isCut: boolean}} Configuration  cut: who is not named may be in it */

/** A sentence that is longer is cut by the node that tells it, which puts `...` at its end. */
const WORDS_MAX = 1000;

/**
 * Each configuration from when the first node tells of it. A node that joins, or starts anew, tells of those that were
 * before once more; the node that told of the last one goes back only where its log was cut.
 * @param {readonly Event[]} events  by time
 * @returns {Configuration[]}
 */
export function configurations(events) {
  /** @type {Configuration[]} */
  const found = [];
  /** @type {string | null} */
  let teller = null;
  for (const event of events) {
    if (event.event === "started" && event.node === teller) teller = null;
    if (event.event !== "configuration_changed") continue;
    const isLater = (event.index ?? 0) > (found.at(-1)?.event.index ?? 0);
    if (!isLater && event.node !== teller) continue;
    teller = event.node;
    found.push({ at: event.at, event, ...namesIn(event.words) });
  }
  return found;
}

/**
 * `… voters a, b; outgoing a; learners c`.
 * @param {string} words
 */
function namesIn(words) {
  const isCut = words.length > WORDS_MAX && words.endsWith("...");
  // The last name may be half of one.
  const whole = isCut ? words.slice(0, words.lastIndexOf(", ")) : words;
  /** @type {Names & {isCut: boolean}} */
  const names = { isCut, voters: [], outgoing: [], learners: [] };
  for (const [, part, listed] of whole.matchAll(/(voters|outgoing|learners) ([^;]*)/g))
    names[/** @type {keyof Names} */ (part)] = (listed ?? "").split(", ");
  return names;
}

/**
 * What a node was, one after the other.
 * @param {string} name
 * @param {readonly Configuration[]} all
 * @param {{from: number, until: number}} life  what is before `from` is about a node that had the name before; from
 *   `until` on, another has it
 * @returns {Membership[]}
 */
export function memberships(name, all, { from, until }) {
  /** @type {Membership[]} */
  const found = [];
  for (const configuration of all.filter(({ at }) => at >= from)) {
    const { at, event } = configuration;
    const kind = at < until ? kindIn(configuration, name) : kindOfElder(configuration, name);
    if (kind === "none" && configuration.isCut) continue;
    if (kind !== found.at(-1)?.kind) found.push({ at, kind, event });
    if (at >= until && kind === "none") break;
  }
  return found;
}

/** @param {Configuration} configuration @param {string} name @returns {Kind} */
function kindIn({ voters, outgoing, learners }, name) {
  if (learners.includes(name)) return "learner";
  return voters.includes(name) || outgoing.includes(name) ? "voter" : "none";
}

/**
 * Of the node that had the name first, while there are two: it belongs to the cluster as long as both do.
 * @param {Configuration} configuration
 * @param {string} name
 * @returns {Kind}
 */
function kindOfElder({ voters, outgoing, learners }, name) {
  const times = [...voters, ...outgoing, ...learners].filter((each) => each === name).length;
  if (times < 2) return "none";
  return outgoing.includes(name) || voters.includes(name) ? "voter" : "learner";
}
