// What the picture of the timeline is made of: names, ticks, bars, arrows and signs. Each keeps its node and patches
// it.

import { attribute, svg, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { cut } from "./body_model.js";
import { SIGNS } from "./event_kinds.js";

/** @import { Event, Part } from "../lib/types.js" */
/** @import { Arrow, Interval, Lane } from "./timeline_model.js" */
/** @import { Sign } from "./event_kinds.js" */

/** From the top of a lane to its bar. */
export const BAR_TOP = 6;

/**
 * Pixels of a lane, of the bar in it, and from its top to its signs. Few nodes have more room.
 * @typedef {{lane: number, bar: number, signs: number}} Size
 */

/**
 * @param {number} count  of lanes
 * @returns {Size}
 */
export function sizeFor(count) {
  const lane = count <= 3 ? 64 : count === 4 ? 52 : 42;
  return { lane, bar: lane - 24, signs: lane - 14 };
}

/** What is drawn beyond the right edge, so that the picture can move by so much before it is drawn anew. */
export const MARGIN = 40;
/** The picture is narrow below this width. */
export const NARROW = 560;

/**
 * @param {number} at
 * @param {number} step
 */
export function tickWords(at, step) {
  if (step < 1000) return format.clock(at) ?? "";
  return step < 60_000 ? (format.clock(at) ?? "").slice(0, 8) : (format.minute(at) ?? "");
}

/**
 * A line with a head of two strokes.
 * @param {number} ax
 * @param {number} ay
 * @param {number} bx
 * @param {number} by
 * @param {number} bar  height of the bars, at whose edges it begins and ends
 */
export function arrowPath(ax, ay, bx, by, bar) {
  const edge = (bar / 2 + 1) * Math.sign(by - ay);
  const [fromY, toY] = [ay + edge, by - edge];
  const angle = Math.atan2(toY - fromY, bx - ax);
  const wing = (/** @type {number} */ turn) =>
    `${(bx - 6 * Math.cos(angle + turn)).toFixed(1)} ${(toY - 6 * Math.sin(angle + turn)).toFixed(1)}`;
  return `M${ax.toFixed(1)} ${fromY}L${bx.toFixed(1)} ${toY}M${wing(0.5)}L${bx.toFixed(1)} ${toY}L${wing(-0.5)}`;
}

/** @typedef {{lane: Lane, y: number, max: number}} Name  `max` letters have room */

/** @returns {Part<Name>} */
export function makeName() {
  const words = svg("text", { x: 2, "dominant-baseline": "central" });
  const below = svg("text", { x: 2, class: "tl-id", "dominant-baseline": "central" });
  const whole = svg("title");
  return {
    node: svg("g", null, whole, words, below),
    update({ lane: { name, id, node }, y, max }) {
      attribute(words, "y", id === null ? y : y - 7);
      attribute(below, "y", y + 8);
      text(words, name.length > max ? `${cut(name, max - 1)}…` : name);
      text(below, id ?? "");
      text(whole, id === null ? name : `${name}, ${node}`);
    },
  };
}

/** @typedef {{at: number, x: number, height: number, label: string}} Tick */

/** @returns {Part<Tick>} */
export function makeTick() {
  const line = svg("line", { y1: 0 });
  const words = svg("text", { "text-anchor": "middle" });
  return {
    node: svg("g", null, line, words),
    update({ x, height, label }) {
      attribute(line, "x1", x.toFixed(1));
      attribute(line, "x2", x.toFixed(1));
      attribute(line, "y2", height);
      attribute(words, "x", x.toFixed(1));
      attribute(words, "y", height + 15);
      text(words, label);
    },
  };
}

/**
 * `room` is for words.
 * @typedef {{key: string, interval: Interval, x: number, y: number, width: number, height: number, room: number}} Bar
 */

/** @param {Bar} bar @returns {Part<Bar>} */
export function makeBar({ interval: { role } }) {
  const box = svg("rect", { rx: 2 });
  const words = svg("text", { "dominant-baseline": "central" });
  return {
    node: svg("g", { class: "tl-bar", "data-role": role }, box, words),
    update({ interval, x, y, width, height, room }) {
      attribute(box, "height", height);
      attribute(box, "x", x.toFixed(1));
      attribute(box, "y", y);
      attribute(box, "width", Math.max(1, width - 1).toFixed(1));
      attribute(words, "x", (x + 6).toFixed(1));
      attribute(words, "y", y + height / 2 + 0.5);
      text(words, x < 0 ? "" : barWords(interval, room));
    },
  };
}

/** @param {Bar} bar */
export const isPinned = ({ x }) => x < 0;

/** @param {Bar} bar @returns {Part<Bar>} */
export function makePin({ interval: { role } }) {
  const words = svg("text", { x: 6, "dominant-baseline": "central" });
  return {
    node: svg("g", { class: "tl-bar", "data-role": role }, words),
    update({ interval, y, height, room }) {
      attribute(words, "y", y + height / 2 + 0.5);
      text(words, barWords(interval, room - MARGIN));
    },
  };
}

/** @type {Record<Interval["role"], string>} */
const BAR_WORDS = {
  leader: "leader",
  follower: "follower",
  candidate: "candidate",
  pre_candidate: "pre-candidate",
  learner: "learner",
  outsider: "outsider",
  unknown: "",
  unreachable: "no answer",
  removed: "removed",
  replaced: "replaced",
};

/**
 * The role and the term, or the term, or nothing: as there is room.
 * @param {Interval} interval
 * @param {number} room
 */
function barWords({ role, term }, room) {
  const number = term === null ? "" : format.number(term);
  const both = `${BAR_WORDS[role]} ${number}`.trim();
  if (both.length * 7 + 10 <= room) return both;
  return (number ?? "").length * 7 + 8 <= room ? (number ?? "") : "";
}

/** @typedef {{key: string, kind: Arrow["kind"], d: string}} Line */

/** @param {Line} line @returns {Part<Line>} */
export function makeLine({ kind }) {
  const node = svg("path", { "data-kind": kind });
  return { node, update: ({ d }) => attribute(node, "d", d) };
}

/** @typedef {{key: string, x: number, y: number, sign: Sign, level: Event["level"], count: number}} Place */

/** @returns {Part<Place>} */
export function makeSign() {
  const path = svg("path", { "fill-rule": "evenodd" });
  const count = svg("text", { x: 12, y: 8 });
  const node = svg("g", { class: "tl-sign" }, path, count);
  return {
    node,
    update(place) {
      attribute(node, "transform", `translate(${(place.x - 5).toFixed(1)} ${place.y})`);
      attribute(node, "data-level", place.level);
      attribute(node, "data-sign", place.sign);
      attribute(path, "d", SIGNS[place.sign].path);
      text(count, place.count > 1 ? String(Math.min(place.count, 999)) : "");
    },
  };
}
