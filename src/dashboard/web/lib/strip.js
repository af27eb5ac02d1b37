// The strip below the navigation: whether the cluster is well, who leads it, how fast it is, and what is wrong, in
// words.

import { makeAlarmList, worstOf } from "./alarm_list.js";
import { attribute, h, replace, show, text } from "./dom.js";
import { counted, duration, milliseconds, number, rate } from "./format.js";
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
  const cells = [
    quorum.node,
    cell("Leader", leader.node),
    cell("Term", term),
    cell("Commits", commits),
    cell("Commit p99", p99),
    alarms.count,
    h("div", { class: "age" }, h("span", { class: "label" }, "Data"), age),
  ];
  return {
    node: h("div", null, h("div", { class: "strip" }, cells), alarms.node),
    update(cluster) {
      quorum.update(cluster);
      leader.update(cluster);
      text(term, number(cluster.term) ?? "");
      show(commits, rate(cluster.commit_rate), "there is no leader to tell, or it has led for too short a time");
      show(p99, milliseconds(cluster.commit_p99_ms), "nothing was committed in the last minute");
      alarms.update(cluster.alarms);
    },
    age({ age_ms }) {
      const live = age_ms !== null && age_ms < LIVE_MAX_MS;
      text(age, live ? "live" : age_ms === null ? "none yet" : `${duration(age_ms)} old`);
      attribute(age, "class", live ? "value good" : "value warn");
    },
  };
}

/**
 * The first thing to look at.
 * @returns {Part<Cluster>}
 */
function makeQuorum() {
  const words = h("span", null, "Asking the cluster");
  const sign = h("span", { class: "row", "aria-hidden": "true" });
  const value = h("span", { class: "value" }, sign, words);
  const node = h("div", { class: "verdict" }, h("span", { class: "label" }, "Quorum"), value);
  return {
    node,
    update(cluster) {
      const level = levelOf(cluster);
      if (node.getAttribute("data-level") !== level) replace(sign, mark(level));
      attribute(node, "data-level", level);
      text(words, quorumWords(cluster));
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
    update({ nodes, leader }) {
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
 * `3 of 3 voters, tolerates 1 failure`.
 * @param {Cluster} cluster
 */
export function quorumWords({ voters, voters_up, tolerates, needed }) {
  if (voters === 0) return "no cluster yet";
  const up = `${voters_up} of ${counted(voters, "voter")}`;
  if (tolerates < 0) return `${up}, ${needed} needed: ${counted(-tolerates, "is", "are")} missing`;
  return tolerates === 0 ? `${up}, tolerates no failure` : `${up}, tolerates ${counted(tolerates, "failure")}`;
}

/**
 * @param {Cluster} cluster
 * @returns {"good" | "warning" | "critical"}
 */
function levelOf({ tolerates, leader, voters, voters_up, alarms }) {
  const worst = worstOf(alarms);
  if (tolerates < 0 || leader === null || worst === "critical") return "critical";
  return voters_up < voters ? "warning" : worst;
}

/**
 * @param {string} label
 * @param {HTMLElement | SVGElement} value
 */
const cell = (label, value) => h("div", null, h("span", { class: "label" }, label), value);
