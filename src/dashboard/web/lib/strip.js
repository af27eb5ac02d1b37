// The strip below the navigation: whether the cluster is well, who leads it, how fast it is, and what is wrong, in
// words.

import { makeAlarmList } from "./alarm_list.js";
import { attribute, h, replace, show, text } from "./dom.js";
import { clock, counted, duration, milliseconds, number, rate } from "./format.js";
import { mark } from "./marks.js";

/** @import { Cluster, Connection, Part } from "./types.js" */

/** Data of this age is no longer called live: four messages of the stream are missing. */
const LIVE_MAX_MS = 2000;

/** @returns {Part<Cluster> & { age: (connection: Connection) => void }} */
export function makeStrip() {
  const quorum = makeQuorum();
  const leader = makeLeader();
  const term = h("span", { class: "value" });
  const commits = h("span", { class: "value digits" });
  const p99 = h("span", { class: "value digits" });
  const alarms = makeAlarmList();
  const age = h("span", { class: "value" });
  const data = h("div", { class: "age" }, h("span", { class: "label" }, "Data"), age);
  const asOf = h("p", { class: "sr" });
  /** Of when the last values are, in words; null: what is shown is the present. @type {string | null} */
  let since = null;
  const cells = [
    quorum.node,
    cell("Leader", leader.node),
    cell("Term", term),
    cell("Commits", commits),
    cell("Commit p99", p99),
    alarms.count,
    data,
  ];
  return {
    node: h("div", null, asOf, h("div", { class: "strip" }, cells), alarms.node),
    update(cluster) {
      quorum.update(cluster);
      leader.update(cluster);
      text(term, number(cluster.term) ?? "");
      show(commits, rate(cluster.commit_rate), "there is no leader to tell, or it has led for too short a time");
      show(p99, milliseconds(cluster.commit_p99_ms), "nothing was committed in the last minute");
      alarms.update(cluster.alarms);
    },
    age({ age_ms, old }) {
      const live = age_ms !== null && age_ms < LIVE_MAX_MS;
      text(age, live ? "live" : age_ms === null ? "none yet" : `${duration(age_ms)} old`);
      attribute(age, "class", live ? "value good" : "value warn");
      attribute(data, "data-live", live);
      // The moment stays while nothing is heard, however its age is rounded.
      since = old && age_ms !== null ? (since ?? clock(Date.now() - age_ms)?.slice(0, 8) ?? null) : null;
      text(asOf, since === null ? "" : `All of this was so at ${since}.`);
      quorum.old(since);
      alarms.old(old);
    },
  };
}

/**
 * The first thing to look at. `old` is told since when it is not known; null: it is.
 * @returns {Part<Cluster> & { old: (since: string | null) => void }}
 */
function makeQuorum() {
  const words = h("span", null, "Asking the cluster");
  const sign = h("span", { class: "row", "aria-hidden": "true" });
  const value = h("span", { class: "value" }, sign, words);
  const node = h("div", { class: "verdict" }, h("span", { class: "label" }, "Quorum"), value);
  /** @type {Cluster | null} */
  let told = null;
  /** @type {string | null} */
  let since = null;

  function draw() {
    if (told === null) return;
    const level = since === null ? levelOf(told) : "unknown";
    if (node.getAttribute("data-level") !== level) replace(sign, level !== "unknown" && mark(level));
    attribute(node, "data-level", level);
    const was = quorumWords(told);
    text(words, since === null ? was : `unknown since ${since}, was: ${was}`);
  }

  return {
    node,
    update(cluster) {
      told = cluster;
      draw();
    },
    old(at) {
      since = at;
      draw();
    },
  };
}

/** @returns {Part<Cluster>} */
function makeLeader() {
  const link = h("a");
  const nobody = h("span");
  show(nobody, null, "no node that answers knows a leader");
  const node = h("span", { class: "value name" });
  return {
    node,
    update({ nodes, leader, removed = false }) {
      attribute(node, "data-level", leader === null && !removed ? "critical" : null);
      const leads = nodes.find((each) => each.id === leader);
      const shown = leads ? link : nobody;
      if (node.firstChild !== shown) replace(node, shown);
      if (!leads) return;
      text(link, leads.name);
      attribute(link, "title", leads.name);
      attribute(link, "href", `#/cluster?node=${leads.id}`);
    },
  };
}

/**
 * `3 of 3 voters, tolerates 1 failure`. A node that was removed does not know who votes since.
 * @param {Cluster} cluster
 */
export function quorumWords({ voters, voters_up, tolerates, needed, cluster_id, removed = false }) {
  if (removed) return "not a member any more";
  if (voters === 0) return cluster_id === "" ? "no cluster yet" : "nothing of the cluster's log is here yet";
  const up = `${voters_up} of ${counted(voters, "voter")}`;
  if (tolerates < 0) return `${up}, ${needed} needed: ${counted(-tolerates, "is", "are")} missing`;
  return tolerates === 0 ? `${up}, tolerates no failure` : `${up}, tolerates ${counted(tolerates, "failure")}`;
}

/**
 * Of the quorum alone: alarms about anything else have a cell of their own.
 * @param {Cluster} cluster
 * @returns {"good" | "warning" | "critical"}
 */
export function levelOf({ tolerates, voters, voters_up, removed = false }) {
  if (removed) return "warning";
  if (tolerates < 0) return "critical";
  return voters === 0 || voters_up < voters ? "warning" : "good";
}

/**
 * @param {string} label
 * @param {HTMLElement | SVGElement} value
 */
const cell = (label, value) => h("div", null, h("span", { class: "label" }, label), value);
