// Events as a picture: a lane for each node, with intervals of roles, arrows between lanes, and marks.
// Pure: no document, no clock.
//
//   a  |---- follower 1 ----|- candidate 2 -|------ leader 2 ------ ...
//                           \      ^
//   b  |---- follower 1 -----\----/ votes  |----- follower 2 ------ ...

import { shortId } from "../lib/format.js";
import { configurations, memberships } from "./timeline_members.js";

/** @import { Event, Node, Role } from "../lib/types.js" */
/** @import { Kind, Membership } from "./timeline_members.js" */

/**
 * @typedef {object} Interval
 * @property {Role | "unknown" | "unreachable" | "removed" | "replaced"} role  the last two: no member any more
 * @property {number | null} term
 * @property {number} from  -Infinity: since before anything is known
 * @property {number} to  Infinity: still so
 * @property {Event | null} began  null: nothing is known of its beginning
 */

/**
 * @typedef {object} Lane
 * @property {string} node
 * @property {string} name
 * @property {string | null} id  the beginning of the id, where the name is not enough
 * @property {Interval[]} roles  in order, without gaps
 * @property {Interval[]} absences  while the node did not answer
 * @property {Event[]} events  in the order of their times
 */

/**
 * @typedef {object} Arrow
 * @property {"vote" | "pre_vote" | "transfer"} kind
 * @property {Event} sent
 * @property {Event | null} received  null: nobody has told of it
 * @property {string} from  node
 * @property {string} to  node
 * @property {number} at
 * @property {number} until
 */

/** A vote that has not arrived after so long is taken for lost. */
const ARROW_MAX_MS = 10_000;

const ROLES = new Map(
  /** @type {[string, Role][]} */ ([
    ["becomes_leader", "leader"],
    ["becomes_follower", "follower"],
    ["becomes_pre_candidate", "pre_candidate"],
    ["becomes_candidate", "candidate"],
  ]),
);

/**
 * @param {readonly Event[]} events  by time
 * @param {readonly Node[]} nodes
 * @returns {Lane[]} in the order of `nodes`; nodes that are known from events only come last
 */
export function lanes(events, nodes) {
  /** @type {Map<string, Event[]>} */
  const byNode = new Map(nodes.map((node) => [node.id, []]));
  for (const event of events) {
    const list = byNode.get(event.node) ?? [];
    list.push(event);
    byNode.set(event.node, list);
  }
  const all = configurations(events);
  const named = [...byNode].map(([id, own]) => {
    const node = nodes.find((candidate) => candidate.id === id) ?? null;
    return { id, own, node, name: node?.name ?? own.at(-1)?.name ?? id };
  });
  return named.map(({ id, own, node, name }) => {
    const others = named.filter((other) => other.name === name && other.id !== id);
    const life = lifeOf(own, others);
    const told = memberships(name, all, life);
    // A member that no configuration names had another name before.
    const renamed = told.at(-1)?.kind === "none" && (node?.membership ?? "none") !== "none";
    const membership = renamed ? [] : told;
    const ended = !node && nodes.length > 0 ? departure(own, membership, life) : null;
    const intervals = roles(own, node, membership);
    return {
      node: id,
      name,
      id: ended || others.length > 0 ? shortId(id) : null,
      roles: ended ? [...upTo(intervals, ended.from), ended] : intervals,
      absences: [...outages(own, events, ended?.from ?? null), ...absences(node)],
      events: own,
    };
  });
}

/**
 * From when to when a node alone has its name: another had it before, or got it later.
 * @param {readonly Event[]} own
 * @param {{own: readonly Event[]}[]} others  of the same name
 */
function lifeOf(own, others) {
  const begin = own[0]?.at ?? Infinity;
  const begins = others.map((other) => other.own[0]?.at ?? Infinity);
  return {
    from: begins.some((at) => at < begin) ? begin : -Infinity,
    until: Math.min(...begins.filter((at) => at > begin), Infinity),
  };
}

/**
 * What comes after the life of a member: from the configuration that it is not in, or as far as events go.
 * @param {readonly Event[]} own
 * @param {readonly Membership[]} membership
 * @param {{until: number}} life
 * @returns {Interval}
 */
function departure(own, membership, { until }) {
  const [begin, last] = [own[0]?.at ?? -Infinity, own.at(-1)?.at ?? -Infinity];
  const left = membership.findLast(({ kind, at }) => kind === "none" && at >= begin)?.event;
  const began = left ?? own.findLast(({ event }) => event === "removed") ?? null;
  const from = began?.at ?? (Number.isFinite(until) ? until : last);
  return { role: until <= from ? "replaced" : "removed", term: null, from, to: Infinity, began };
}

/**
 * @param {readonly Interval[]} intervals
 * @param {number} end
 */
function upTo(intervals, end) {
  return intervals
    .filter(({ from }) => from < end)
    .map((interval) => ({ ...interval, to: Math.min(interval.to, end) }));
}

/**
 * When a node was away before it started anew, or until it was removed, as far as the others have noticed: from when
 * one of them lost the connection.
 * @param {readonly Event[]} own  of the node
 * @param {readonly Event[]} events  of all
 * @param {number | null} end
 * @returns {Interval[]}
 */
function outages(own, events, end) {
  const ends = own.map((event) => (isStart(event) ? event.at : null));
  return [...ends, end].flatMap((to, at) => {
    const before = own[at - 1];
    if (to === null || !before) return [];
    const lost = events.find((event) => event.at > before.at && event.at < to && isLoss(event, before.name));
    return lost ? [{ role: "unreachable", term: null, from: lost.at, to, began: lost }] : [];
  });
}

/**
 * @param {Event} event
 * @param {string} name
 */
const isLoss = ({ kind, level, peer }, name) => kind === "connection" && level !== "info" && peer === name;

/** @typedef {{role: Role | "unknown", term: number | null}} Part  what a node plays, whether it is a member or not */

/**
 * @param {readonly Event[]} events of one node
 * @param {Node | null} node
 * @param {readonly Membership[]} membership
 * @returns {Interval[]}
 */
export function roles(events, node, membership) {
  /** @type {Interval} */
  let current = { role: "unknown", term: null, from: -Infinity, to: Infinity, began: null };
  const found = [current];
  /** @type {Part} */
  let part = { role: "unknown", term: null };
  // Who is a learner has always been one: voters do not become learners.
  const first = membership.length > 0 ? membership[0]?.kind : node?.role;
  /** @type {Kind | null} */
  let kind = first === "learner" ? "learner" : null;
  /** @type {{at: number, told: Event, kind: Kind | null}[]} */
  const steps = [
    ...events.map((event) => ({ at: event.at, told: event, kind: null })),
    ...membership.map(({ at, event, kind: became }) => ({ at, told: event, kind: became })),
  ].sort((a, b) => a.at - b.at);
  for (const { at, told, kind: became } of steps) {
    kind = became ?? kind;
    part = (became ? null : roleAfter(told, part)) ?? part;
    const next = shownAs(part, kind);
    if (next.role === current.role && next.term === current.term) continue;
    current.to = at;
    current = { ...next, from: at, to: Infinity, began: told };
    found.push(current);
  }
  agree(current, node, kind);
  return found;
}

/**
 * @param {Event} event
 * @param {Part} current
 * @returns {Part | null} null: it says nothing about the role
 */
function roleAfter(event, current) {
  const role = ROLES.get(event.event);
  if (role) return { role, term: event.term };
  if (isStart(event)) return { role: "unknown", term: null };
  if (event.event === "follows_leader") return { role: "follower", term: event.term };
  // Whoever votes in a later term has taken that term on.
  const votes = event.event === "vote_granted" && !isPreVote(event) && (event.term ?? 0) > (current.term ?? 0);
  return votes ? { role: current.role === "unknown" ? "follower" : current.role, term: event.term } : null;
}

/**
 * A follower without a vote is a learner, and one without a part in the cluster an outsider.
 * @param {Part} part
 * @param {Kind | null} kind  null: nothing is known of that
 * @returns {Part}
 */
function shownAs({ role, term }, kind) {
  if (role !== "follower" || kind === null || kind === "voter") return { role, term };
  return { role: kind === "learner" ? "learner" : "outsider", term };
}

/**
 * What the node says of itself is right where the events, which go back only so far, say nothing or cannot say it. A
 * learner that has nothing of the log yet does not know that it is one.
 * @param {Interval} last
 * @param {Node | null} node
 * @param {Kind | null} kind
 */
function agree(last, node, kind) {
  if (!node?.role || !node.reachable) return;
  const tells = kind === null && (node.role === "learner" || node.role === "outsider");
  if (last.role !== "unknown" && !(tells && last.role === "follower")) return;
  last.role = node.role === "outsider" && kind === "learner" ? "learner" : node.role;
  last.term = node.term ?? last.term;
}

/**
 * @param {Node | null} node
 * @returns {Interval[]}
 */
function absences(node) {
  if (!node || node.reachable || node.seen_at === null) return [];
  return [{ role: "unreachable", term: null, from: node.seen_at, to: Infinity, began: null }];
}

/**
 * What a process tells first.
 * @param {Event} event
 */
export function isStart(event) {
  return event.kind === "process" && (event.event === "recovered" || event.event === "started");
}

/** @param {Event} event */
export function isPreVote(event) {
  return /pre_vote/.test(event.event) || /pre-vote|would vote/.test(event.words);
}

/**
 * The events by which leaders became something else.
 * @param {Lane} lane
 * @returns {Set<Event>}
 */
export function stepDowns({ roles: intervals }) {
  const ends = intervals.filter((interval, at) => intervals[at - 1]?.role === "leader" && interval.role !== "leader");
  return new Set(ends.flatMap(({ began }) => (began === null || isStart(began) ? [] : [began])));
}

/**
 * Votes and orders to campaign, from the node that gave them to the one that got them.
 * @param {readonly Event[]} events by time
 * @returns {Arrow[]}
 */
export function arrows(events) {
  const idOf = new Map(events.map((event) => [event.name, event.node]));
  /** @type {Arrow[]} */
  const found = [];
  events.forEach((sent, at) => {
    const kind = arrowKind(sent);
    const to = sent.peer === null ? undefined : idOf.get(sent.peer);
    if (!kind || to === undefined || to === sent.node) return;
    const received = arrival(events, at, sent, kind, to);
    found.push({ kind, sent, received, from: sent.node, to, at: sent.at, until: received?.at ?? sent.at });
  });
  return found;
}

/**
 * @param {Event} event
 * @returns {Arrow["kind"] | null}
 */
function arrowKind(event) {
  if (event.event === "timeout_now_sent") return "transfer";
  if (event.event !== "vote_granted") return null;
  return isPreVote(event) ? "pre_vote" : "vote";
}

/**
 * Clocks of nodes differ, so the arrival may stand before the departure.
 * @param {readonly Event[]} events
 * @param {number} at  place of what was sent
 * @param {Event} sent
 * @param {Arrow["kind"]} kind
 * @param {string} to
 */
function arrival(events, at, sent, kind, to) {
  const name = kind === "transfer" ? "timeout_now_received" : "vote_received";
  /** @param {Event} event */
  const fits = (event) =>
    event.node === to &&
    event.event === name &&
    event.peer === sent.name &&
    (kind === "transfer" || (event.term === sent.term && isPreVote(event) === isPreVote(sent)));
  for (let step = 1; step < events.length; step++) {
    const [before, after] = [events[at - step], events[at + step]];
    const near = [after, before].filter((event) => event !== undefined && Math.abs(event.at - sent.at) <= ARROW_MAX_MS);
    if (near.length === 0) return null;
    const found = near.find((event) => event !== undefined && fits(event));
    if (found) return found;
  }
  return null;
}

/**
 * How far the clocks of nodes are apart at least. What is received before it was sent tells: `behind` shows a time that
 * is at least `ms` earlier than that of `ahead`.
 * @param {readonly Arrow[]} found
 * @returns {{behind: string, ahead: string, ms: number} | null} the largest
 */
export function skew(found) {
  let worst = null;
  for (const { sent, received } of found) {
    const ms = received ? sent.at - received.at : 0;
    if (received && ms > (worst?.ms ?? 0)) worst = { behind: received.name, ahead: sent.name, ms };
  }
  return worst;
}

/** @typedef {{x: number, events: Event[]}} Mark  events that are too close to be told apart */

/**
 * @param {readonly Event[]} events of one lane, by time
 * @param {(at: number) => number} xOf
 * @param {number} apart  pixels
 * @returns {Mark[]}
 */
export function marks(events, xOf, apart) {
  /** @type {Mark[]} */
  const found = [];
  for (const event of events) {
    const x = xOf(event.at);
    const last = found.at(-1);
    if (last && x - last.x < apart) last.events.push(event);
    else found.push({ x, events: [event] });
  }
  return found;
}

const STEPS_MS = [
  100, 200, 500, 1000, 2000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 900_000, 1_800_000,
];

/**
 * Times for the axis, at least `apart` pixels from each other.
 * @param {number} from
 * @param {number} span
 * @param {number} width
 * @param {number} apart
 * @returns {{step: number, times: number[]}}
 */
export function ticks(from, span, width, apart = 90) {
  const step = STEPS_MS.find((candidate) => (candidate / span) * width >= apart) ?? 3_600_000;
  const first = Math.ceil(from / step) * step;
  const times = [];
  for (let at = first; at <= from + span; at += step) times.push(at);
  return { step, times };
}

/** The shortest and the longest stretch of time that the picture shows. */
export const SPAN_MIN_MS = 2000;
export const SPAN_MAX_MS = 2 * 3_600_000;

/**
 * The stretch of time that is shown. While it follows, its end is the present.
 * @typedef {object} View
 * @property {number} end
 * @property {number} span
 * @property {boolean} follows
 */

/**
 * Makes the stretch longer or shorter; the moment at `share` of the width (0 left, 1 right) stays where it is. A view
 * that follows keeps its end.
 * @param {View} view
 * @param {number} factor
 * @param {number} share
 * @returns {View}
 */
export function zoomed(view, factor, share) {
  const span = Math.min(SPAN_MAX_MS, Math.max(SPAN_MIN_MS, view.span * factor));
  if (view.follows) return { ...view, span };
  const fixed = view.end - view.span * (1 - share);
  return { ...view, span, end: fixed + span * (1 - share) };
}

/**
 * Moves the stretch. Whoever goes back in time stops following; whoever comes to the present follows again.
 * @param {View} view
 * @param {number} ms
 * @param {number} now
 * @returns {View}
 */
export function panned(view, ms, now) {
  const end = (view.follows ? now : view.end) + ms;
  return end >= now ? { ...view, end: now, follows: true } : { ...view, end, follows: false };
}

/**
 * The place of the first event at `at` or later.
 * @param {readonly Event[]} events  by time
 * @param {number} at
 */
export function placeAt(events, at) {
  let [low, high] = [0, events.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((events[middle]?.at ?? Infinity) < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Events that are kept, of all nodes together. */
export const EVENTS_MAX = 20_000;

/** @param {Event} event */
export const eventKey = (event) => `${event.node}/${event.seq}/${event.at}`;

/**
 * Events of several sources, by time, each once, the newest of them when they are too many.
 * @param {readonly Event[]} known
 * @param {readonly Event[]} more
 * @returns {readonly Event[]} `known` itself when there is nothing else
 */
export function merged(known, more) {
  const keys = new Set(known.map(eventKey));
  const fresh = more.filter((event) => !keys.has(eventKey(event)));
  if (fresh.length === 0) return known;
  return [...known, ...fresh].sort((a, b) => a.at - b.at || a.seq - b.seq).slice(-EVENTS_MAX);
}
