// The log page: the log of one node, or of two side by side, with a panel for the entry that is selected.

import { attribute, h, list, replace, text } from "../lib/dom.js";
import * as format from "../lib/format.js";
import { isForPage } from "../lib/keys.js";
import { roleWord, shownRole } from "../lib/marks.js";
import { inline, plain } from "./content.js";
import { KIND_WORDS, entryDetail, showing } from "./log_entry.js";
import { makePair } from "./log_pair.js";
import { isEmpty } from "./log_search.js";
import { hasLeft, makeSingle } from "./log_single.js";

/** @import { App, Cluster, Mounted, Node, Part } from "../lib/types.js" */
/** @import { Listeners, Selected, View } from "./log_single.js" */
/** @import { Filter } from "./log_search.js" */

export const title = "Log";
export const styles = ["content.css", "log.css"];
/** @type {[string, string][]} */
export const keys = [
  ["f", "Follow the tail, or stop"],
  ["g", "Go to an index"],
  ["/", "Search"],
  ["↑ ↓ PgUp PgDn Home End", "Move through the entries"],
  ["Enter", "Go to the details of the entry"],
  ["Esc", "Leave the entry"],
];

/** The address follows the selection, but not every step of a key that is held. */
const ADDRESS_MS = 400;

/**
 * What the address asks for.
 * @typedef {{left: string, right: string | null, from: number | null, filter: Filter}} Wish
 */

/**
 * @param {HTMLElement} root
 * @param {App} app
 * @returns {Mounted}
 */
export function mount(root, app) {
  /** @type {View | null} */
  let view = null;
  /** @type {Wish} */
  let wish = readWish(app.params);
  /** The nodes whose logs are shown, as they were last listed. @type {Node[]} */
  let opened = [];
  let following = false;
  let addressTimer = 0;

  const left = nodeSelect("Node", () => reopen({ ...wish, left: left.input.value }));
  const right = nodeSelect("and", () => reopen({ ...wish, right: right.input.value }));
  const one = h("button", { type: "button", onclick: () => reopen({ ...wish, right: null }) }, "One node");
  const two = h(
    "button",
    { type: "button", onclick: () => reopen({ ...wish, right: other(wish.left), filter: noFilter() }) },
    "Two side by side",
  );
  const jumpInput = h("input", {
    inputmode: "numeric",
    size: 9,
    "aria-label": "Index to go to",
    placeholder: "Index",
    autocomplete: "off",
  });
  const jumpForm = h("form", { class: "row", onsubmit: onJump }, jumpInput, h("button", { type: "submit" }, "Go"));
  const followButton = h(
    "button",
    {
      type: "button",
      class: "log-follow",
      "aria-keyshortcuts": "f",
      "aria-pressed": "false",
      onclick: () => follow(!following),
    },
    "Follow the tail",
  );
  const filter = filterForm((wanted) => reopen({ ...wish, filter: wanted, from: null }));
  const notice = h("p", { class: "note", "data-level": "warn", hidden: true });
  const place = h("div", { class: "log-place" });
  const panel = makePanel(
    () => app.announce,
    () => close(),
  );
  const body = h("div", { class: "log-body" }, place, panel.node);
  const head = h(
    "div",
    { class: "page-head" },
    h("h1", null, title),
    h("div", { class: "row", role: "group", "aria-label": "What is shown" }, one, two),
  );
  const tools = h("div", { class: "log-tools" }, left.node, right.node, jumpForm, followButton, filter.node);
  replace(root, head, tools, notice, body);
  root.classList.add("log");

  /** @type {Listeners} */
  const listeners = {
    onSelect(selected) {
      panel.show(selected, app.cluster());
      attribute(body, "data-open", selected !== null);
      remember(selected?.index ?? null);
    },
    onFollow(follows) {
      if (following !== follows) app.announce(follows ? "Following the tail." : "Stopped following the tail.");
      following = follows;
      attribute(followButton, "aria-pressed", String(follows));
      text(followButton, follows ? "Following the tail" : "Follow the tail");
    },
    onOpen: () => panel.focus(),
  };

  /** @param {Wish} wanted */
  function reopen(wanted) {
    wish = wanted;
    app.replace(writeWish(wish));
    open();
  }

  function open() {
    const cluster = app.cluster();
    if (!cluster) return;
    view?.destroy();
    const nodeId = idOf(cluster, wish.left) ?? cluster.asked.id;
    const wanted = wish.right === null ? null : idOf(cluster, wish.right);
    // Where the left one has left, the node of the page is in its place: not once more on the right.
    const isTwice = wanted === nodeId && idOf(cluster, wish.left) === null;
    const rightId = wish.right === null ? null : isTwice ? other(nodeId) : (wanted ?? other(nodeId));
    wish = { ...wish, left: nodeId, right: rightId };
    opened = cluster.nodes.filter(({ id }) => id === nodeId || id === rightId);
    view =
      rightId === null
        ? makeSingle(app, nodeId, wish.filter, listeners)
        : makePair(app, nodeId, rightId, cluster, listeners);
    replace(place, view.node);
    clearTimeout(addressTimer);
    panel.show(null, cluster);
    attribute(body, "data-open", false);
    filter.set(wish.filter);
    // A view tells at once that nothing is selected in it, which is not what is wished for.
    const { from } = wish;
    update(cluster);
    begin(view, from);
  }

  /** @param {View} opened @param {number | null} from */
  function begin(opened, from) {
    const problem = from === null ? null : opened.jump(from);
    if (from === null) opened.follow(true);
    else if (problem !== null) app.toast(`Not shown: ${problem}.`, "warn");
  }

  /** @param {Cluster} cluster */
  function onCluster(cluster) {
    if (!view) open();
    else if (!goOnWithSuccessor(cluster)) update(cluster);
  }

  /**
   * Where a node has left and another has its name, goes on with the log of that one.
   * @param {Cluster} cluster
   */
  function goOnWithSuccessor(cluster) {
    const successor = opened
      .filter(({ id }) => hasLeft(cluster, id))
      .map(({ id, name }) => ({ id, node: cluster.nodes.find((node) => node.name === name) }))
      .find(({ node }) => node && !opened.some(({ id }) => id === node.id));
    if (!successor?.node) return false;
    const { id, node } = successor;
    const replaced = (/** @type {string | null} */ wished) => (wished === id ? node.id : wished);
    // What was looked at may be further on than this log has come.
    const from = wish.from !== null && wish.from <= (node.last ?? 0) ? wish.from : null;
    reopen({ ...wish, left: replaced(wish.left) ?? "", right: replaced(wish.right), from });
    app.toast(`${plain(node.name, 60)} was replaced: this is the log of the node that has its name now.`, "warn");
    return true;
  }

  /** @param {boolean} on  the end of a log that nobody tells of cannot be followed */
  function follow(on) {
    view?.follow(on && !followButton.disabled);
  }

  /** @param {Cluster} cluster */
  function update(cluster) {
    const pair = wish.right !== null;
    opened = opened.map((node) => cluster.nodes.find(({ id }) => id === node.id) ?? node);
    const gone = opened.filter(({ id }) => hasLeft(cluster, id));
    const options = [...cluster.nodes.map(optionOf), ...gone.map(goneOptionOf)];
    left.update(options, wish.left);
    right.update(options, wish.right ?? "");
    attribute(one, "aria-pressed", String(!pair));
    attribute(two, "aria-pressed", String(pair));
    two.disabled = cluster.nodes.length < 2;
    right.node.hidden = !pair;
    filter.node.hidden = pair;
    followButton.disabled = gone.length === opened.length;
    if (following && followButton.disabled) follow(false);
    showNotice(cluster, gone);
    view?.update(cluster);
  }

  /** @param {Cluster} cluster @param {Node[]} gone */
  function showNotice(cluster, gone) {
    const silent = opened.filter((node) => !node.reachable && !gone.includes(node));
    notice.hidden = silent.length + gone.length === 0;
    const words = [
      ...gone.map(({ name }) => `${plain(name)} is no longer a member: of its log, what was read before is shown.`),
      ...silent.map(({ name, seen_at }) =>
        seen_at === null
          ? `${plain(name)} does not answer, and has not been heard.`
          : `${plain(name)} does not answer; last heard ${format.ago(seen_at, cluster.now)}.`,
      ),
    ];
    text(notice, words.join(" "));
  }

  /** @param {string} id  another node than this one, one that answers first */
  function other(id) {
    const rest = (app.cluster()?.nodes ?? []).filter((node) => node.id !== id);
    return (rest.find(({ reachable }) => reachable) ?? rest[0])?.id ?? id;
  }

  /** @param {globalThis.Event} event */
  function onJump(event) {
    event.preventDefault();
    const index = Number(jumpInput.value.replaceAll(/[\s,.]/g, ""));
    const valid = Number.isSafeInteger(index) && index >= 1;
    const problem = valid ? (view?.jump(index) ?? null) : "an index is a whole number from 1 on";
    attribute(jumpInput, "aria-invalid", problem !== null && !valid);
    if (problem !== null) app.toast(`Not shown: ${problem}.`, "warn");
    else view?.focus();
  }

  /**
   * The selected entry stays the same when another node is chosen, and when the page is loaded anew.
   * @param {number | null} index
   */
  function remember(index) {
    if (wish.from === index) return;
    wish = { ...wish, from: index };
    clearTimeout(addressTimer);
    addressTimer = window.setTimeout(() => app.replace(writeWish(wish)), ADDRESS_MS);
  }

  function close() {
    view?.focus();
    view?.leave();
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (!isForPage(event)) return;
    const target = event.target instanceof HTMLElement ? event.target : null;
    if (event.key === "f") follow(!following);
    else if (event.key === "g") ask(jumpInput);
    else if (event.key === "/" && wish.right === null) filter.focus();
    else if (event.key === "Escape" && panel.node.contains(target)) close();
    else return;
    event.preventDefault();
  }

  document.addEventListener("keydown", onKey);
  const off = app.on("cluster", onCluster);
  open();

  return {
    unmount() {
      off();
      clearTimeout(addressTimer);
      document.removeEventListener("keydown", onKey);
      view?.destroy();
    },
    navigate(params) {
      wish = readWish(params);
      open();
    },
  };
}

/**
 * Goes to a field, so that what is typed takes the place of what is in it.
 * @param {HTMLInputElement} input
 */
function ask(input) {
  input.focus();
  input.select();
}

/** @returns {Filter} */
const noFilter = () => ({ kind: "", queue: "", text: "" });

/**
 * @param {URLSearchParams} params
 * @returns {Wish}
 */
function readWish(params) {
  const from = Number(params.get("from"));
  return {
    left: params.get("left") ?? params.get("node") ?? "",
    right: params.get("right"),
    from: Number.isSafeInteger(from) && from > 0 ? from : null,
    filter: { kind: params.get("kind") ?? "", queue: params.get("queue") ?? "", text: params.get("text") ?? "" },
  };
}

/** @param {Wish} wish */
function writeWish({ left, right, from, filter }) {
  const params = new URLSearchParams(right === null ? { node: left } : { left, right });
  if (from !== null) params.set("from", String(from));
  for (const [name, value] of Object.entries(filter)) if (value !== "") params.set(name, value);
  return params;
}

/**
 * @param {Cluster} cluster
 * @param {string} wanted  an id or a name
 */
function idOf(cluster, wanted) {
  return cluster.nodes.find(({ id, name }) => id === wanted || name === wanted)?.id ?? null;
}

/**
 * @param {string} label
 * @param {() => void} onChange
 */
function nodeSelect(label, onChange) {
  const input = h("select", { onchange: onChange });
  const node = h("label", { class: "row log-node" }, h("span", { class: "muted" }, label), input);
  return {
    node,
    input,
    /** @param {Option[]} options @param {string} chosen */
    update(options, chosen) {
      list(input, options, ({ id }) => id, makeOption);
      if (input.value !== chosen) input.value = chosen;
    },
  };
}

/** @typedef {{id: string, words: string}} Option */

/** @param {Node} node @returns {Option} */
const optionOf = (node) => ({
  id: node.id,
  words: `${plain(node.name, 60)} (${roleWord(shownRole(node)).toLowerCase()})`,
});

/** @param {Node} node @returns {Option} */
const goneOptionOf = ({ id, name }) => ({ id, words: `${plain(name, 60)} (no longer a member)` });

/** @param {Option} made @returns {Part<Option>} */
function makeOption(made) {
  const node = h("option", { value: made.id });
  return { node, update: ({ words }) => text(node, words) };
}

/** @param {(filter: Filter) => void} onFilter */
function filterForm(onFilter) {
  const kinds = Object.entries(KIND_WORDS).map(([value, word]) => h("option", { value }, word));
  const kind = h("select", { "aria-label": "Kind" }, h("option", { value: "" }, "any kind"), kinds);
  const queue = h("input", {
    size: 12,
    placeholder: "Queue",
    "aria-label": "Queue",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 255,
  });
  const words = h("input", {
    type: "search",
    size: 16,
    placeholder: "Text",
    "aria-label": "Text",
    "aria-keyshortcuts": "/",
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 200,
  });
  const clear = h("button", { type: "button", class: "quiet", onclick: () => send(noFilter()) }, "Show all");
  const read = () => ({ kind: kind.value, queue: queue.value.trim(), text: words.value });
  /** @param {Filter} filter */
  const set = (filter) => {
    if (kind.value !== filter.kind) kind.value = filter.kind;
    if (queue.value !== filter.queue) queue.value = filter.queue;
    if (words.value !== filter.text) words.value = filter.text;
    clear.hidden = isEmpty(filter);
  };
  /** @param {Filter} filter */
  const send = (filter) => {
    set(filter);
    onFilter(filter);
  };
  const onSubmit = (/** @type {globalThis.Event} */ event) => {
    event.preventDefault();
    send(read());
  };
  kind.addEventListener("change", () => send(read()));
  const node = h(
    "form",
    { class: "row log-filter", role: "search", onsubmit: onSubmit },
    kind,
    queue,
    words,
    h("button", { type: "submit" }, "Search"),
    clear,
  );
  return { node, set, focus: () => ask(words) };
}

/**
 * The panel of the selected entry: of one log, or of both, which are shown once where they are equal.
 * @param {() => App["announce"]} announce
 * @param {() => void} onClose
 */
function makePanel(announce, onClose) {
  const heading = h("h2", { tabindex: "-1" });
  const closeButton = h(
    "button",
    { type: "button", class: "quiet icon", "aria-label": "Close the details", title: "Close (Esc)", onclick: onClose },
    "✕",
  );
  const content = h("div", { class: "stack" });
  const node = h(
    "aside",
    { class: "log-detail card", "aria-label": "The selected entry", hidden: true },
    h("div", { class: "row apart" }, heading, closeButton),
    content,
  );
  let last = "";

  /**
   * @param {Selected | null} selected
   * @param {Cluster | null} cluster
   */
  function show(selected, cluster) {
    node.hidden = selected === null;
    const key = JSON.stringify(
      selected && [
        selected.index,
        selected.words,
        selected.sides.map(({ name, entry }) => [name, entry?.term, entry?.digest, entry?.trace, entry === undefined]),
      ],
    );
    if (selected !== null && key === last) return showProgress(selected);
    last = key;
    if (selected === null) return;
    text(heading, `Entry ${format.number(selected.index)}`);
    const how = showing(cluster, announce());
    const [first, second] = selected.sides;
    const alike =
      second?.entry &&
      first?.entry &&
      first.entry.digest === second.entry.digest &&
      first.entry.term === second.entry.term;
    const sides = alike ? selected.sides.slice(0, 1) : selected.sides;
    replace(
      content,
      selected.words && h("p", { class: "pair-words" }, selected.words),
      ...sides.map((side) => sideDetail(side, sides.length > 1, how)),
    );
    content.scrollTop = 0;
    showProgress(selected);
  }

  /** @param {Selected} selected */
  function showProgress({ sides }) {
    const facts = [...content.querySelectorAll(".progress")];
    const same = sides.every(({ progress }) => progress === sides[0]?.progress);
    const both = same
      ? (sides[0]?.progress ?? "")
      : sides.map(({ name, progress }) => `${plain(name)}: ${progress}`).join("; ");
    facts.forEach((fact, at) => text(fact, facts.length > 1 ? (sides[at]?.progress ?? "") : both));
  }

  return { node, show, focus: () => heading.focus() };
}

/**
 * @param {Selected["sides"][number]} side
 * @param {boolean} named
 * @param {import("./log_entry.js").Showing} how
 */
function sideDetail({ name, entry, progress }, named, how) {
  const absent = entry === undefined ? "Not read." : "There is no entry here.";
  return h(
    "section",
    { class: "stack log-side" },
    named && h("h3", null, "On ", inline(name, 60)),
    entry ? entryDetail(entry, progress, how) : h("p", { class: "muted" }, absent),
  );
}
