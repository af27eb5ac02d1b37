// What is wrong, in words: how many alarms there are, and the list of them. Each opens to what it means and what to do.

import { advice } from "./alarms.js";
import { attribute, h, list, text } from "./dom.js";
import { counted } from "./format.js";
import { mark } from "./marks.js";

/** @import { Alarm, Part } from "./types.js" */

/**
 * The list is shown when the first alarm is raised, and then as the reader wants it.
 * @returns {{count: HTMLElement, node: HTMLElement, update: (alarms: Alarm[]) => void, old: (old: boolean) => void}}
 */
export function makeAlarmList() {
  const node = h("div", { class: "alarms", hidden: true });
  const toggle = h("button", { type: "button", class: "value", onclick: () => open(node.hidden === true) });
  const count = h("div", null, h("span", { class: "label" }, "Alarms"), toggle);
  let before = 0;
  let isOld = false;
  /** @type {Alarm[]} */
  let shown = [];

  /** @param {boolean} opened */
  function open(opened) {
    node.hidden = !opened;
    attribute(toggle, "aria-expanded", String(opened));
  }

  /** @param {Alarm[]} alarms */
  function show(alarms) {
    shown = alarms;
    const words = alarms.length === 0 ? "none" : counted(alarms.length, "alarm");
    text(toggle, isOld ? `was: ${words}` : words);
    attribute(count, "data-level", worstOf(alarms));
  }

  return {
    count,
    node,
    old(old) {
      isOld = old;
      show(shown);
    },
    update(alarms) {
      show(alarms);
      toggle.disabled = alarms.length === 0;
      list(node, alarms, alarmKey, makeAlarm);
      if (alarms.length === 0 || before === 0) open(alarms.length > 0);
      before = alarms.length;
    },
  };
}

/**
 * What stays the same while the words of an alarm change.
 * @param {Alarm} alarm
 */
export const alarmKey = ({ code, node }) => `${code}/${node}`;

/**
 * @param {Alarm[]} alarms
 * @returns {Alarm["level"] | "good"}
 */
export function worstOf(alarms) {
  if (alarms.some((alarm) => alarm.level === "critical")) return "critical";
  return alarms.length > 0 ? "warning" : "good";
}

/**
 * @param {Alarm} alarm
 * @returns {Part<Alarm>}
 */
function makeAlarm({ code, level }) {
  const words = h("span");
  const { means, todo } = advice(code);
  const node = h(
    "details",
    { class: "alarm", "data-level": level },
    h("summary", null, mark(level), words),
    h("p", null, means),
    h("p", null, h("strong", null, "What to do: "), todo),
  );
  return { node, update: (alarm) => text(words, alarm.text) };
}
