// The shapes that stand beside words, so that no state is told by colour alone.

import { svg } from "./dom.js";

/** @import { Node, Role } from "./types.js" */
/** @typedef {Role | "lost" | "good" | "warning" | "critical"} Mark */

/** Each in a square of 12. A learner is a hollow follower: it follows and has no vote. */
/** @type {Record<Mark, string>} */
const SHAPES = {
  leader: "M6 .2 7.7 4l4.1.5-3 2.8.8 4.1L6 9.4l-3.6 2 .8-4.1-3-2.8L4.3 4Z",
  follower: "M6 1.2a4.8 4.8 0 1 1 0 9.6a4.8 4.8 0 1 1 0-9.6Z",
  learner: "M6 1a5 5 0 1 1 0 10a5 5 0 1 1 0-10ZM6 3a3 3 0 1 0 0 6a3 3 0 1 0 0-6Z",
  candidate: "M6 .8 11.7 11H.3Z",
  pre_candidate: "M6 .8 11.7 11H.3ZM6 4.8 3.5 9.2h5Z",
  outsider: "M1.5 1.5h9v9h-9ZM3.3 3.3v5.4h5.4V3.3Z",
  lost: "M2.3.9 6 4.6 9.7.9l1.4 1.4L7.4 6l3.7 3.7-1.4 1.4L6 7.4 2.3 11.1.9 9.7 4.6 6 .9 2.3Z",
  good: "M4.6 10.6.6 6.6 2.1 5.1l2.5 2.5L9.9 2l1.5 1.5Z",
  warning: "M6 .5 12 11.2H0ZM5.2 4.3v3.5h1.6V4.3ZM5.2 8.6v1.5h1.6V8.6Z",
  critical: "M3.6.3h4.8l3.3 3.3v4.8l-3.3 3.3H3.6L.3 8.4V3.6ZM5.2 2.7v4.2h1.6V2.7ZM5.2 7.9v1.6h1.6V7.9Z",
};

/** @type {Record<Role | "lost", string>} */
const WORDS = {
  leader: "Leader",
  follower: "Follower",
  pre_candidate: "Asks whether it could win",
  candidate: "Candidate",
  learner: "Learner",
  outsider: "Not a member",
  lost: "Does not answer",
};

/** @param {Mark} name */
export const outline = (name) => SHAPES[name];

/** @param {Mark} name */
export function mark(name) {
  return svg("svg", { class: "mark", viewBox: "0 0 12 12", "aria-hidden": "true" }, shape(name));
}

/** @param {Mark} name */
export function shape(name) {
  return svg("path", { d: SHAPES[name], "fill-rule": "evenodd" });
}

/**
 * What a node is shown as: its role while it answers. A learner that has nothing of the log yet does not know that it
 * is one.
 * @param {Node} node
 * @returns {Role | "lost"}
 */
export function shownRole({ reachable, role, membership }) {
  if (!reachable) return "lost";
  return role === "outsider" && membership === "learner" ? "learner" : (role ?? "outsider");
}

/** @param {Role | "lost"} role */
export const roleWord = (role) => WORDS[role];
