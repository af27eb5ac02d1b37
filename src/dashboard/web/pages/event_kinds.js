// The sign and the word of each kind of event.

import { svg } from "../lib/dom.js";

/** @import { Event } from "../lib/types.js" */
/** @typedef {Event["kind"] | "step_down" | "connected"} Sign  what a connection is: lost, or made */

/** Each in a square of 10. @type {Record<Sign, {word: string, path: string}>} */
export const SIGNS = {
  role: { word: "role", path: "M5 1a4 4 0 1 1 0 8a4 4 0 1 1 0-8Z" },
  step_down: { word: "step-down", path: "M0 1h10L5 9.500Z" },
  vote: { word: "vote", path: "M3.700 9 .3 5.400l1.300-1.300 2.100 2.200L8.400 1l1.400 1.200Z" },
  transfer: { word: "transfer", path: "M0 3.500h5.500V.5L10 5 5.500 9.500v-3H0Z" },
  membership: { word: "membership", path: "M3.700 0h2.600v3.700H10v2.600H6.300V10H3.700V6.300H0V3.700h3.700Z" },
  snapshot: { word: "snapshot", path: "M0 0h10v10H0ZM2 2v6h6V2ZM3.500 3.500h3v3h-3Z" },
  connected: {
    word: "connected",
    path: "M5 .8a4.200 4.200 0 1 1 0 8.400a4.200 4.200 0 1 1 0-8.400ZM5 2.600a2.400 2.400 0 1 0 0 4.800a2.400 2.400 0 1 0 0-4.800Z",
  },
  connection: {
    word: "connection",
    path: "M1.500.2 5 3.700 8.500.2l1.300 1.300L6.300 5l3.500 3.500-1.300 1.300L5 6.300 1.500 9.800.2 8.500 3.700 5 .2 1.500Z",
  },
  disk: { word: "disk", path: "M5 .3 10 9.700H0ZM4.400 3.500v3h1.200v-3ZM4.400 7.300v1.300h1.200V7.300Z" },
  process: { word: "process", path: "M5 .2 9.800 3.800 8 9.600H2L.2 3.800Z" },
  trouble: {
    word: "trouble",
    path: "M3 .2h4L9.800 3v4L7 9.800H3L.2 7V3ZM4.400 2v3.800h1.200V2ZM4.400 6.900v1.300h1.200V6.900Z",
  },
};

/** Which sign stands for several events: the first of these. @type {Sign[]} */
export const BY_WEIGHT = [
  "trouble",
  "step_down",
  "disk",
  "process",
  "connection",
  "transfer",
  "membership",
  "snapshot",
  "connected",
  "role",
  "vote",
];

/** @param {Event} event @returns {Sign} */
export const signFor = ({ kind, level }) => (kind === "connection" && level === "info" ? "connected" : kind);

/** @param {Sign} sign */
export function signMark(sign) {
  const path = svg("path", { d: SIGNS[sign].path, "fill-rule": "evenodd" });
  return svg("svg", { class: "event-sign", viewBox: "0 0 10 10", width: 10, height: 10, "aria-hidden": "true" }, path);
}
