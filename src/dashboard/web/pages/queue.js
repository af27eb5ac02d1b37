// The page of one queue: what it holds, how that went, its settings, its messages, and a message for trying it out.

import { makeChart } from "../lib/chart.js";
import { attribute, h, replace, show, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { cuttable, plain } from "./content.js";
import { editSettings, makeSender } from "./queue_forms.js";
import { makeMessages } from "./queue_messages.js";
import { makeQueueTotals } from "./queue_totals.js";

/** @import { App, QueueDetail, QueueHistory } from "../lib/types.js" */

export const title = "Queue";
export const styles = ["content.css", "queues.css"];

/** How long nobody asks again for a queue that there is not. */
const MISSING_MS = 10_000;

/** @type {Record<keyof QueueDetail["counts"], string>} */
const COUNTS = {
  enqueued: "Enqueued",
  dequeued: "Dequeued",
  acknowledged: "Acknowledged",
  redelivered: "Delivered again",
  dead_lettered: "Became dead",
};

/**
 * @param {HTMLElement} root
 * @param {App} app
 */
export function mount(root, app) {
  const name = app.params.get("name") ?? "";
  const controller = new AbortController();
  /** @type {QueueDetail | null} */
  let detail = null;
  let busy = false;
  /** Nothing is asked for before this moment: there is no such queue. */
  let notBefore = 0;
  /** A message was sent: the queue is there, and the node that is asked will soon know. */
  let sent = false;
  let begun = false;

  const totals = makeQueueTotals();
  const trouble = h("p", { class: "note", "data-level": "warn", hidden: true });
  const charts = makeCharts();
  const settings = makeSettings(() => detail && editSettings(app, name, detail.settings, refresh));
  const messages = makeMessages(app, name, controller.signal, () => detail?.queue ?? null, refresh);
  const sender = makeSender(app, name, () => {
    notBefore = 0;
    sent = true;
    refresh();
    if (begun) messages.refresh();
  });
  replace(
    root,
    h(
      "div",
      { class: "page-head" },
      h(
        "h1",
        { class: "queue-name" },
        h("a", { href: "#/queues" }, "Queues"),
        h("span", { class: "muted", "aria-hidden": "true" }, " / "),
        cuttable(name, 120),
      ),
    ),
    trouble,
    totals.node,
    h(
      "div",
      { class: "queue-grid" },
      h("div", { class: "stack queue-main" }, charts.node, messages.node),
      h("div", { class: "stack" }, settings.node, sender.node),
    ),
  );
  root.classList.add("queue-page");
  settings.update(null);

  async function refresh() {
    if (busy || performance.now() < notBefore) return;
    busy = true;
    try {
      /** @type {QueueDetail} */
      const answer = await app.get(`api/queue?name=${encodeURIComponent(name)}`, controller.signal);
      detail = answer;
      totals.update(answer.queue);
      charts.update(answer.history);
      settings.update(answer);
      if (!trouble.hidden || !begun) messages.refresh();
      begun = true;
      messages.update(answer.queue);
      trouble.hidden = true;
    } catch (error) {
      if (!controller.signal.aborted) showTrouble(error);
    } finally {
      busy = false;
    }
  }

  /** @param {any} error */
  function showTrouble(error) {
    trouble.hidden = false;
    const missing = error?.reason === "QUEUE_NOT_FOUND";
    if (missing) {
      if (!sent) notBefore = performance.now() + MISSING_MS;
      messages.clear();
    }
    text(
      trouble,
      missing
        ? `There is no queue ${plain(name)}. A message that is sent to it makes it.`
        : `The queue could not be read: ${error instanceof Error ? error.message : error}`,
    );
  }

  const off = app.on("queues", refresh);
  refresh();

  return () => {
    off();
    controller.abort();
    charts.destroy();
  };
}

function makeCharts() {
  const held = makeChart({
    title: "Messages",
    unit: format.number,
    series: [
      { label: "ready", colour: "--accent" },
      { label: "leased", colour: "--learner" },
      { label: "dead", colour: "--bad" },
    ],
  });
  const flow = makeChart({
    title: "Messages a second",
    unit: format.rate,
    series: [
      { label: "in", colour: "--accent" },
      { label: "out", colour: "--good" },
    ],
  });
  return {
    node: h(
      "section",
      { class: "queue-charts", "aria-label": "How it has been" },
      h("div", { class: "card" }, held.node),
      h("div", { class: "card" }, flow.node),
    ),
    /** @param {QueueHistory} history */
    update({ step_ms, end, ready, leased, dead, in_rate, out_rate }) {
      held.update({ step_ms, end, values: [ready, leased, dead] });
      flow.update({ step_ms, end, values: [in_rate, out_rate] });
    },
    destroy() {
      held.destroy();
      flow.destroy();
    },
  };
}

/** @param {() => void} onEdit */
function makeSettings(onEdit) {
  const lease = h("dd");
  const deliveries = h("dd");
  const limit = h("dd");
  const counts = Object.entries(COUNTS).map(([key, word]) => ({ key, word, node: h("dd") }));
  const edit = h("button", { type: "button", disabled: true, onclick: onEdit }, "Change …");
  const node = h(
    "section",
    { class: "card", "aria-label": "Settings" },
    h("div", { class: "card-head row apart" }, h("h2", null, "Settings"), edit),
    h(
      "dl",
      { class: "facts" },
      h("dt", null, "A lease lasts"),
      lease,
      h("dt", null, "Deliveries at most"),
      deliveries,
      h("dt", null, "Messages at most"),
      limit,
    ),
    h("h3", { class: "queue-counts" }, "Since the queue was made"),
    h(
      "dl",
      { class: "facts" },
      counts.map(({ word, node: value }) => [h("dt", null, word), value]),
    ),
  );
  const why = "the node has not told it";
  return {
    node,
    /** @param {QueueDetail | null} detail */
    update(detail) {
      attribute(edit, "disabled", detail?.settings.lease_ms === undefined || detail.settings.lease_ms === null);
      show(lease, format.exactDuration(detail?.settings.lease_ms), why);
      show(deliveries, format.number(detail?.settings.deliveries_max), why);
      show(limit, format.number(detail?.settings.messages_max), why);
      for (const { key, node: value } of counts) {
        show(value, format.number(detail?.counts[/** @type {keyof typeof COUNTS} */ (key)]), why);
      }
    },
  };
}
