// What the page of a queue can change: its settings, its dead messages, and a message more.

import { ApiError } from "../lib/api.js";
import { openDialog } from "../lib/dialog.js";
import { attribute, h, replace, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { inline, plain } from "./content.js";
import { secondsToMs, wholeNumber } from "./queues_model.js";

/** @import { App, QueueDetail } from "../lib/types.js" */

const LEASE_MAX_MS = 12 * 3_600_000;
const DELIVERIES_MAX = 1000;
/** Messages that one request moves. */
const REDRIVE_MAX = 1000;
const HEADERS_MAX = 64;

/**
 * Asks for other settings, shows what they would change, and saves them.
 * @param {App} app
 * @param {string} queue
 * @param {QueueDetail["settings"]} settings
 * @param {() => void} onDone
 */
export function editSettings(app, queue, settings, onDone) {
  const lease = h("input", {
    inputmode: "decimal",
    value: String((settings.lease_ms ?? 0) / 1000),
    autocomplete: "off",
  });
  const deliveries = h("input", {
    inputmode: "numeric",
    value: String(settings.deliveries_max ?? ""),
    autocomplete: "off",
  });
  const difference = h("div", { class: "difference", role: "status" });
  const read = () => ({
    lease_ms: secondsToMs(lease.value, 1, LEASE_MAX_MS),
    deliveries_max: wholeNumber(deliveries.value, 1, DELIVERIES_MAX),
  });

  const content = h(
    "div",
    { class: "stack" },
    h("label", { class: "field" }, h("span", null, "A lease lasts, in seconds: 0.001 to 43,200"), lease),
    h(
      "label",
      { class: "field" },
      h("span", null, "Deliveries at most: 1 to 1,000; then the message is dead"),
      deliveries,
    ),
    h("section", { "aria-label": "What would change" }, h("h3", null, "What would change"), difference),
    h("p", { class: "muted" }, "Leases that were given already stay as they are."),
  );
  const title = ["Settings of ", inline(queue, 60)];
  const dialog = openDialog({ title, content, confirm: "Save", toast: app.toast, action: save });

  function compare() {
    const wanted = read();
    attribute(lease, "aria-invalid", wanted.lease_ms === null);
    attribute(deliveries, "aria-invalid", wanted.deliveries_max === null);
    const lines = [
      line("A lease lasts", settings.lease_ms, wanted.lease_ms, format.exactDuration),
      line("Deliveries at most", settings.deliveries_max, wanted.deliveries_max, format.number),
    ].filter((found) => found !== null);
    replace(difference, ...(lines.length > 0 ? lines : [h("p", { class: "muted" }, "Nothing.")]));
    dialog.enable(lines.length > 0 && wanted.lease_ms !== null && wanted.deliveries_max !== null);
  }

  async function save() {
    await app.post("api/queue/settings", { queue, ...read() });
    app.toast(`The settings of ${plain(queue, 60)} are saved.`);
    onDone();
  }

  for (const input of [lease, deliveries]) input.addEventListener("input", compare);
  compare();
  lease.select();
}

/**
 * @param {string} what
 * @param {number | null} before
 * @param {number | null} after  null: it cannot be read
 * @param {(value: number | null) => string | null} words
 */
function line(what, before, after, words) {
  if (after !== null && after === before) return null;
  const shown =
    after === null ? h("strong", { class: "bad" }, "not a number within the limits") : h("ins", null, words(after));
  return h(
    "p",
    null,
    `${what}: `,
    h("del", null, words(before) ?? "–"),
    h("span", { "aria-hidden": "true" }, " → "),
    h("span", { class: "sr" }, " becomes "),
    shown,
  );
}

/**
 * Makes dead messages ready again, after asking how many.
 * @param {App} app
 * @param {string} queue
 * @param {number} dead
 * @param {() => void} onDone
 */
export function askRedrive(app, queue, dead, onDone) {
  const input = h("input", {
    inputmode: "numeric",
    value: String(dead),
    autocomplete: "off",
    "aria-label": "How many",
  });
  const words = h("p", { role: "status" });
  const progress = h("p", { class: "muted", role: "status" });
  const content = h(
    "div",
    { class: "stack" },
    h("label", { class: "field" }, h("span", null, `How many, the oldest first: 1 to ${format.number(dead)}`), input),
    words,
    progress,
  );
  const dialog = openDialog({
    title: ["Redrive dead messages of ", inline(queue, 60)],
    content,
    confirm: "Redrive",
    toast: app.toast,
    action: redrive,
    stops: true,
  });

  function tell() {
    const wanted = wholeNumber(input.value, 1, dead);
    attribute(input, "aria-invalid", wanted === null);
    dialog.enable(wanted !== null);
    const which =
      wanted === dead
        ? dead === 1
          ? "The dead message becomes"
          : `All ${format.number(dead)} dead messages become`
        : `The ${format.number(wanted ?? 0)} oldest of ${format.number(dead)} dead messages become`;
    text(
      words,
      wanted === null
        ? "This is not a number of messages that there are."
        : `${which} ready again, at their place in the order of the queue, as if never delivered. ` +
            "Consumers get them at once: whatever made them dead should be mended first.",
    );
  }

  /** @param {AbortSignal} signal */
  async function redrive(signal) {
    const wanted = wholeNumber(input.value, 1, dead) ?? 0;
    let moved = 0;
    while (moved < wanted && !signal.aborted) {
      const answer = await app.post("api/queue/redrive", { queue, limit: Math.min(REDRIVE_MAX, wanted - moved) });
      moved += answer.moved;
      text(progress, `${format.number(moved)} of ${format.number(wanted)}`);
      if (answer.moved === 0) break;
    }
    app.toast(
      moved === 0
        ? "There was no dead message any more."
        : `${format.counted(moved, "message is", "messages are")} ready again.`,
    );
    onDone();
  }

  input.addEventListener("input", tell);
  tell();
  input.select();
}

/**
 * A form that sends a message of text, with headers.
 * @param {App} app
 * @param {string} queue
 * @param {() => void} onSent
 */
export function makeSender(app, queue, onSent) {
  const body = h("textarea", {
    rows: 3,
    "aria-label": "Text of the message",
    spellcheck: "false",
    placeholder: "Text of the message",
  });
  const headers = h("div", { class: "stack sender-headers" });
  const add = h("button", { type: "button", class: "quiet", onclick: () => addHeader() }, "+ Header");
  const send = h("button", { type: "submit", class: "primary" }, "Send");
  const problem = h("p", { class: "bad", role: "alert" });
  const form = h(
    "form",
    { class: "stack", onsubmit: submit },
    body,
    headers,
    h("div", { class: "row apart" }, add, send),
    problem,
  );
  const node = h(
    "section",
    { class: "card", "aria-label": "Send a test message" },
    h("h2", { class: "card-head" }, "Send a test message"),
    form,
  );

  function addHeader() {
    const key = h("input", {
      placeholder: "Header",
      "aria-label": "Name of the header",
      size: 10,
      autocomplete: "off",
      spellcheck: "false",
      maxlength: 128,
    });
    const value = h("input", {
      placeholder: "Value",
      "aria-label": "Value of the header",
      size: 12,
      autocomplete: "off",
      spellcheck: "false",
    });
    const drop = h(
      "button",
      { type: "button", class: "quiet icon", "aria-label": "Leave this header out", onclick: () => remove(row) },
      "✕",
    );
    const row = h("div", { class: "sender-header" }, key, value, drop);
    headers.append(row);
    add.disabled = headers.childElementCount >= HEADERS_MAX;
    key.focus();
  }

  /** @param {HTMLElement} row */
  function remove(row) {
    row.remove();
    add.disabled = false;
    add.focus();
  }

  /** @returns {Record<string, string>} */
  function readHeaders() {
    const pairs = [...headers.children].map((row) => [...row.querySelectorAll("input")].map((input) => input.value));
    return Object.fromEntries(pairs.filter(([key]) => key));
  }

  /** @param {globalThis.Event} event */
  async function submit(event) {
    event.preventDefault();
    text(problem, "");
    send.disabled = true;
    try {
      const given = readHeaders();
      await app.post("api/queue/send", {
        queue,
        text: body.value,
        ...(Object.keys(given).length > 0 && { headers: given }),
      });
      app.toast(`Sent to ${plain(queue, 60)}.`);
      onSent();
    } catch (error) {
      const begin = error instanceof ApiError && error.inDoubt ? "Perhaps sent: " : "Not sent: ";
      replace(problem, begin, inline(error instanceof Error ? error.message : String(error), 400));
    } finally {
      send.disabled = false;
    }
  }

  return { node };
}
