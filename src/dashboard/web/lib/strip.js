// The strip below the navigation: whether the cluster is well, who leads it, how fast it is, and what is wrong, in
// words.

import { advice } from "./alarms.js";
import { attribute, h, list, replace, show, text } from "./dom.js";
import { counted, duration, milliseconds, number, rate } from "./format.js";
import { mark } from "./marks.js";

/** @import { Alarm, Cluster, Connection, Part } from "./types.js" */

/** Data of this age is no longer called live: four messages of the stream are missing. */
const LIVE_MAX_MS = 2000;

/** @returns {Part<Cluster> & { age: (connection: Connection) => void }} */
export function makeStrip() {
  const verdict = h("span", null, "Asking the cluster");
  const verdictMark = h("span", { class: "row", "aria-hidden": "true" });
  const verdictCell = h(
    "div",
    { class: "verdict" },
    h("span", { class: "label" }, "Quorum"),
    h("span", { class: "value" }, verdictMark, verdict),
  );
  const leader = h("a", { href: "#/cluster" });
  const leaderValue = h("span", { class: "value name" });
  const term = h("span", { class: "value" });
  const commits = h("span", { class: "value digits" });
  const p99 = h("span", { class: "value digits" });
  const toggle = h("button", {
    type: "button",
    class: "value",
    "aria-expanded": "true",
    onclick: () => open(panel.hasAttribute("hidden")),
  });
  const alarmCell = h("div", { class: "alarm-cell" }, h("span", { class: "label" }, "Alarms"), toggle);
  const age = h("span", { class: "value" });
  const strip = h(
    "div",
    { class: "strip" },
    verdictCell,
    cell("Leader", leaderValue),
    cell("Term", term),
    cell("Commits", commits),
    cell("Commit p99", p99),
    alarmCell,
    h("div", { class: "age" }, h("span", { class: "label" }, "Data"), age),
  );
  const panel = h("div", { class: "alarms", hidden: true });
  let alarmed = false;

  /** @param {boolean} opened */
  function open(opened) {
    panel.hidden = !opened;
    attribute(toggle, "aria-expanded", String(opened));
  }

  /** @param {Cluster} cluster */
  function update(cluster) {
    const level = levelOf(cluster);
    if (attributeChanged(verdictCell, "data-level", level)) replace(verdictMark, mark(level));
    text(verdict, quorumWords(cluster));
    const leads = cluster.nodes.find((node) => node.id === cluster.leader);
    if (leads) {
      text(leader, leads.name);
      attribute(leader, "title", leads.name);
      attribute(leader, "href", `#/cluster?node=${encodeURIComponent(leads.id)}`);
      if (leader.parentNode !== leaderValue) replace(leaderValue, leader);
    } else {
      show(leaderValue, null, "no node that answers knows a leader");
    }
    text(term, number(cluster.term) ?? "");
    show(commits, rate(cluster.commit_rate), "there is no leader to tell, or it has led for too short a time");
    show(p99, milliseconds(cluster.commit_p99_ms), "nothing was committed in the last minute");
    showAlarms(cluster.alarms);
  }

  /** @param {Alarm[]} alarms */
  function showAlarms(alarms) {
    const worst = alarms.some((alarm) => alarm.level === "critical")
      ? "critical"
      : alarms.length > 0
        ? "warning"
        : "good";
    attribute(alarmCell, "data-level", worst);
    text(toggle, alarms.length === 0 ? "none" : counted(alarms.length, "alarm"));
    toggle.disabled = alarms.length === 0;
    list(panel, alarms, (alarm) => `${alarm.code}/${alarm.node}`, makeAlarm);
    if (alarms.length === 0 || !alarmed) open(alarms.length > 0);
    alarmed = alarms.length > 0;
  }

  return {
    node: h("div", null, strip, panel),
    update,
    age: ({ age_ms }) => {
      const live = age_ms !== null && age_ms < LIVE_MAX_MS;
      text(age, live ? "live" : age_ms === null ? "none yet" : `${duration(age_ms)} old`);
      attribute(age, "class", live ? "value good" : "value warn");
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
function levelOf(cluster) {
  const { alarms } = cluster;
  if (cluster.tolerates < 0 || cluster.leader === null || alarms.some((alarm) => alarm.level === "critical"))
    return "critical";
  return alarms.length > 0 || cluster.voters_up < cluster.voters ? "warning" : "good";
}

/**
 * @param {Alarm} alarm
 * @returns {Part<Alarm>}
 */
function makeAlarm(alarm) {
  const words = h("span");
  const { means, todo } = advice(alarm.code);
  const summary = h("summary", null, mark(alarm.level), words);
  const node = h(
    "details",
    { class: "alarm", "data-level": alarm.level },
    summary,
    h("p", null, means),
    h("p", null, h("strong", null, "What to do: "), todo),
  );
  return { node, update: (changed) => text(words, changed.text) };
}

/**
 * @param {string} label
 * @param {HTMLElement} value
 */
const cell = (label, value) => h("div", null, h("span", { class: "label" }, label), value);

/**
 * @param {Element} node
 * @param {string} name
 * @param {string} value
 */
function attributeChanged(node, name, value) {
  if (node.getAttribute(name) === value) return false;
  node.setAttribute(name, value);
  return true;
}
