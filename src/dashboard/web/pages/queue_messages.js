// The messages of a queue, by state, a page at a time. A message that is opened shows its headers and its body.

import { attribute, h, list, replace, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { bodyOf } from "./body_model.js";
import { MASKED_WORDS, bodyView, cuttable, headersView, inline } from "./content.js";
import { askRedrive } from "./queue_forms.js";

/** @import { App, Message, MessageList, Part, Queue } from "../lib/types.js" */

const LIMIT = 50;

/** @type {[Message["state"], string][]} */
const STATES = [
  ["ready", "Ready"],
  ["leased", "Leased"],
  ["delayed", "Delayed"],
  ["dead", "Dead"],
];

/** @type {Record<Message["state"], string>} */
const NONE = {
  ready: "No message is ready.",
  leased: "No message is with a consumer.",
  delayed: "No message waits for its delay to end.",
  dead: "No message is dead.",
};

/**
 * @param {App} app
 * @param {string} name
 * @param {AbortSignal} signal  the end of the page
 * @param {() => Queue | null} queue
 * @param {() => void} onChange
 */
export function makeMessages(app, name, signal, queue, onChange) {
  /** @type {Message["state"]} */
  let state = "ready";
  /** The cursors of the pages up to this one; null: the first. @type {(string | null)[]} */
  let cursors = [null];
  /** @type {string | null} */
  let next = null;
  let turn = 0;

  const tabs = STATES.map(([value, word]) => {
    const count = h("span", { class: "muted" });
    const button = h(
      "button",
      { type: "button", role: "tab", "aria-controls": "messages", onclick: () => open(value) },
      word,
      " ",
      count,
    );
    return { value, button, count };
  });
  const tabList = h(
    "div",
    { class: "tabs messages-tabs", role: "tablist", "aria-label": "State of the messages", onkeydown: onKey },
    tabs.map(({ button }) => button),
  );
  const redrive = h(
    "button",
    { type: "button", hidden: true, onclick: () => askRedrive(app, name, queue()?.dead ?? 0, changed) },
    "Redrive …",
  );
  const again = h("button", { type: "button", onclick: () => load() }, "Refresh");
  const asOf = h("span", { class: "muted" });
  const rows = h("ol", { class: "messages" });
  const nothing = h("p", { class: "empty", hidden: true });
  const trouble = h("p", { class: "note", "data-level": "warn", hidden: true });
  const back = h("button", { type: "button", onclick: () => turnPage(-1) }, "Back");
  const forth = h("button", { type: "button", onclick: () => turnPage(1) }, `Next ${LIMIT}`);
  const maskedNote = h("p", { class: "note", hidden: true }, MASKED_WORDS);
  const panel = h(
    "div",
    { id: "messages", role: "tabpanel", class: "stack" },
    trouble,
    maskedNote,
    rows,
    nothing,
    h("div", { class: "row messages-turn", hidden: true }, back, forth),
  );
  const node = h(
    "section",
    { class: "card", "aria-label": "Messages" },
    h(
      "div",
      { class: "row apart messages-head" },
      h("h2", null, "Messages"),
      h("div", { class: "row" }, asOf, redrive, again),
    ),
    tabList,
    panel,
  );

  /** @param {Message["state"]} wanted */
  function open(wanted) {
    choose(wanted);
    load();
  }

  /** @param {Message["state"]} wanted */
  function choose(wanted) {
    state = wanted;
    cursors = [null];
    for (const { value, button } of tabs) {
      attribute(button, "aria-selected", String(value === state));
      attribute(button, "tabindex", value === state ? null : -1);
    }
    list(rows, /** @type {Message[]} */ ([]), ({ id }) => id, makeMessage);
  }

  async function load() {
    const mine = (turn += 1);
    attribute(rows, "aria-busy", true);
    const query = new URLSearchParams({ name, state, limit: String(LIMIT) });
    const cursor = cursors.at(-1) ?? null;
    if (cursor !== null) query.set("after", cursor);
    try {
      /** @type {MessageList} */
      const answer = await app.get(`api/queue/messages?${query}`, signal);
      if (mine === turn) show(answer);
    } catch (error) {
      if (signal.aborted || mine !== turn) return;
      const missing = error instanceof Error && "reason" in error && error.reason === "QUEUE_NOT_FOUND";
      if (missing) show({ messages: [], next: null });
      trouble.hidden = missing;
      text(trouble, `The messages could not be read: ${error instanceof Error ? error.message : error}`);
    } finally {
      if (mine === turn) attribute(rows, "aria-busy", null);
    }
  }

  /** @param {MessageList} answer */
  function show(answer) {
    next = answer.next;
    trouble.hidden = true;
    list(rows, answer.messages, ({ id, state: of }) => `${of} ${id}`, makeMessage);
    maskedNote.hidden = app.cluster()?.show_content !== false || answer.messages.length === 0;
    nothing.hidden = answer.messages.length > 0;
    text(nothing, cursors.length > 1 ? "There are no more." : NONE[state]);
    text(asOf, `as of ${format.clock(nowMs())?.slice(0, 8)}`);
    back.disabled = cursors.length === 1;
    forth.disabled = next === null;
    attribute(back.parentElement ?? back, "hidden", back.disabled && forth.disabled);
    showRedrive();
  }

  // Messages have their times by the clock of the leader.
  const nowMs = () => {
    const cluster = app.cluster();
    const leader = cluster?.nodes.find((node) => node.id === cluster.leader);
    return (cluster?.now ?? Date.now()) + (leader?.clock_ahead_ms ?? 0);
  };

  /** @param {Message} first @returns {Part<Message>} */
  function makeMessage(first) {
    const masked = () => app.cluster()?.show_content === false;
    const facts = h("span", { class: "muted message-facts" });
    const content = h("div", { class: "stack message-content" });
    const preview = h("span", { class: "message-preview" });
    const summary = h("summary", null, h("span", { class: "mono message-id" }, inline(first.id, 40)), facts, preview);
    const details = h("details", { ontoggle: () => details.open && draw() }, summary, content);
    let shown = first;
    let drawn = "";

    /** What is inside is made when it is opened first, and anew when it has changed. */
    function draw() {
      const key = JSON.stringify([shown.reason, shown.headers, shown.bytes, masked()]);
      if (drawn === key) return;
      drawn = key;
      const { reason, headers } = shown;
      replace(
        content,
        reason && h("p", null, "Dead: ", cuttable(reason, 300)),
        headersView(headers),
        bodyView(shown, masked()),
      );
    }

    return {
      node: h("li", null, details),
      update(message) {
        shown = message;
        text(facts, factsOf(message, nowMs()));
        attribute(
          facts,
          "title",
          message.enqueued_at === null ? null : `enqueued ${format.dateTime(message.enqueued_at)}`,
        );
        replace(
          preview,
          message.reason && h("b", { class: "warn" }, inline(message.reason, 80), " "),
          ...previewOf(message, masked()),
        );
        if (details.open) draw();
      },
    };
  }

  /** @param {1 | -1} by */
  function turnPage(by) {
    if (by < 0) cursors = cursors.slice(0, -1);
    else if (next !== null) cursors = [...cursors, next];
    load();
    node.scrollIntoView({ block: "nearest" });
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (by === 0) return;
    event.preventDefault();
    const at = tabs.findIndex(({ value }) => value === state) + by;
    const tab = tabs[(at + tabs.length) % tabs.length];
    if (!tab) return;
    open(tab.value);
    tab.button.focus();
  }

  function showRedrive() {
    redrive.hidden = state !== "dead" || (queue()?.dead ?? 0) === 0;
  }

  function changed() {
    onChange();
    load();
  }

  choose("ready");
  return {
    node,
    refresh: load,
    /** There is no such queue. */
    clear: () => show({ messages: [], next: null }),
    /** @param {Queue} held */
    update(held) {
      for (const { value, count } of tabs) text(count, held[value] > 0 ? `(${format.number(held[value])})` : "");
      showRedrive();
    },
  };
}

/**
 * @param {Message} message
 * @param {number} now
 */
function factsOf({ state, bytes, enqueued_at, deliveries, due_at }, now) {
  const due = due_at === null ? null : format.duration(Math.max(0, due_at - now));
  const parts = [
    format.bytes(bytes),
    enqueued_at === null ? null : format.ago(enqueued_at, now),
    deliveries === 0
      ? "never delivered"
      : `delivered ${deliveries === 1 ? "once" : `${format.number(deliveries)} times`}`,
    due === null ? null : state === "leased" ? `lease ends in ${due}` : `ready in ${due}`,
  ];
  return parts.filter((part) => part !== null).join(" · ");
}

/**
 * @param {Message} message
 * @param {boolean} masked
 */
function previewOf(message, masked) {
  if (message.text !== null) return [h("span", { class: "mono" }, inline(message.text, 100, message.bytes))];
  const bytes = bodyOf(message)?.bytes;
  if (!bytes) return [h("span", { class: "muted" }, masked ? "masked" : "not available")];
  const hex = [...bytes.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return [h("span", { class: "mono muted" }, bytes.length > 16 ? `${hex} …` : hex)];
}
