// The frame around every page: it listens to the node, shows the strip, and mounts the page that the address names.
//
//   app              the address, the stream, keys, the admin token
//   pages/           one module for each page, loaded when it is first opened
//   lib/types        the shapes of all JSON, and what a page gets (`App`) and is (`Page`)
//   lib/api          requests, and the stream that connects anew by itself
//   lib/dom          making nodes and patching them             lib/format   numbers, times and names as text
//   lib/strip        whether the cluster is well, in one line   lib/alarms   what each alarm means, and what to do
//   lib/card         a node, with readings, bar, badge, transfer
//   lib/ring         a picture of what goes between nodes       lib/chart    the last hour, drawn by vendor/uplot
//   lib/table        100,000 rows and more                      lib/dialog   dialogs, the token, toasts
//   lib/keys         which keys are the page's own
//
// Invariants
// - No text is ever read as markup, script or style: nodes are made one by one, and the Content-Security-Policy of the
//   node forbids everything else.
// - What comes twice a second patches what is there: focus, selection and scrolling survive, and nothing moves.
// - A number that is not known is a dash that says why, never 0. Old data says how old it is.
// - Nothing is loaded from anywhere but the node.
//
// Addresses are `#/PAGE?parameters`. Keys 1 to 5 open the pages and `?` lists all keys, unless a field has the focus.

import { alarmKey } from "./lib/alarm_list.js";
import { ApiError, get, listen, post } from "./lib/api.js";
import { askForToken, closeDialogs, openHelp, toast } from "./lib/dialog.js";
import { attribute, h, loadStyle, replace, text } from "./lib/dom.js";
import { counted, duration } from "./lib/format.js";
import { isForPage } from "./lib/keys.js";
import { makeStrip } from "./lib/strip.js";

/** @import { App, Cluster, Connection, Event, Mounted, Page, QueueTotals, Topics } from "./lib/types.js" */

const PAGES = [
  { name: "cluster", title: "Cluster" },
  { name: "log", title: "Log" },
  { name: "events", title: "Events" },
  { name: "queues", title: "Queues" },
  { name: "members", title: "Members" },
];

/** Pages that are reached from another one, which stays marked in the navigation. */
const BELOW = new Map([["queue", "queues"]]);

const EVENTS_MAX = 5000;

/** A stream begins with so many events if there are as many: fewer are all that the node remembers. */
const GAP_MIN = 500;
/** Events of one request for those that were missed. */
const GAP_PART = 1000;

/** Of this age on, the page says that what it shows is old. */
const OLD_MS = 3000;

/** A page whose files did not come is not asked for more often. */
const LOAD_PAUSE_MS = 1000;

const TOKEN_KEY = "quorate-admin-token";
const TOKEN_NEEDED = "Changes need the admin token of this cluster.";

/** @param {string} id */
const element = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

const main = element("main");
const nav = element("nav");
const tools = element("tools");
const banner = element("banner");
const announcer = element("announcer");
const toasts = element("toasts");
const askedName = h("span", { class: "asked" });
const lostTitle = h("strong");
const lostWords = h("span");
const otherNodes = h("span", { class: "row" });

/** @type {{[T in keyof Topics]: Set<(value: Topics[T]) => void>}} */
const handlers = { cluster: new Set(), events: new Set(), queues: new Set(), connection: new Set() };

/** @type {Cluster | null} */
let cluster = null;
/** @type {QueueTotals | null} */
let totals = null;
/** @type {Event[]} */
let events = [];
let connected = false;
/** Why the node serves no stream, in its words. */
let refused = "";
/** When the last message came, on the clock of the browser. */
let heardAt = 0;
/** @type {{name: string, page: Page | null, mounted: Mounted | null}} */
let open = { name: "", page: null, mounted: null };
/** Counts navigations, so that a page that loads late does not replace a later one. */
let turn = 0;

/** @type {App} */
const app = {
  cluster: () => cluster,
  events: () => events,
  queues: () => totals,
  on(topic, handler) {
    handlers[topic].add(handler);
    return () => handlers[topic].delete(handler);
  },
  get,
  post: postWithToken,
  params: new URLSearchParams(),
  go: (hash) => {
    location.hash = hash;
  },
  replace(params) {
    const query = params.toString();
    app.params = params;
    history.replaceState(null, "", `#/${open.name}${query ? `?${query}` : ""}`);
  },
  announce: (words) => text(announcer, words),
  toast(words, level = "good") {
    toast(toasts, words, level);
    app.announce(words);
  },
};

const strip = makeStrip();
element("strip").append(strip.node);
drawNavigation();
drawTools();
element("skip").addEventListener("click", (event) => {
  // The address names the page: a jump within it must not change it.
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", route);
addEventListener("keydown", onKey);
listen("api/stream", ["cluster", "events", "queues"], onMessage, onConnection, (refusal) => {
  refused = refusal?.message ?? "";
});
setInterval(watchAge, 500);
route();

/**
 * @param {string} topic
 * @param {any} value
 */
function onMessage(topic, value) {
  heardAt = performance.now();
  if (topic === "cluster") onCluster(value);
  else if (topic === "events") onEvents(value.events);
  else if (topic === "queues") tell("queues", (totals = value));
  watchAge();
}

/** @param {boolean} alive */
function onConnection(alive) {
  connected = alive;
  if (alive) refused = "";
}

/** @param {Cluster} changed */
function onCluster(changed) {
  const before = cluster;
  cluster = changed;
  strip.update(changed);
  announceChanges(before, changed);
  text(askedName, changed.asked.name);
  attribute(askedName, "title", `This page asks ${changed.asked.name}`);
  document.title = titleNow();
  tell("cluster", changed);
}

/**
 * A stream that is connected anew begins with the newest events: those that are known already, or, after a long time, some
 * that came long after the last known one. What lies between is asked for.
 * @param {Event[]} arrived
 */
function onEvents(arrived) {
  const hadSome = events.length > 0;
  const fresh = addEvents(arrived);
  if (hadSome && fresh > 0 && fresh === arrived.length && arrived.length >= GAP_MIN) fillGap(arrived[0]?.at ?? 0);
}

/**
 * Returns how many of them were not known.
 * @param {Event[]} arrived
 */
function addEvents(arrived) {
  const known = new Set(events.map(eventKey));
  const fresh = arrived.filter((event) => !known.has(eventKey(event)));
  if (fresh.length === 0) return 0;
  events = [...events, ...fresh].sort((a, b) => a.at - b.at).slice(-EVENTS_MAX);
  tell("events", fresh);
  return fresh.length;
}

/**
 * Asks for what happened up to then, back to an event that is known, or as far as the node remembers.
 * @param {number} before
 */
async function fillGap(before) {
  try {
    for (let fetched = 0; fetched < EVENTS_MAX; fetched += GAP_PART) {
      /** @type {{events: Event[]}} */
      const answer = await get(`api/events?limit=${GAP_PART}&before=${before}`);
      const earliest = answer.events[0]?.at ?? before;
      const known = new Set(events.map(eventKey));
      // Those at `before` itself were known before this was asked.
      const closed = answer.events.some((event) => event.at < before && known.has(eventKey(event)));
      addEvents(answer.events);
      if (closed || answer.events.length < GAP_PART || earliest >= before) return;
      before = earliest;
    }
  } catch {
    app.toast("Events of the time without connection are missing: reload the page to see them.", "warn");
  }
}

/** @param {Event} event */
const eventKey = (event) => `${event.node}/${event.seq}/${event.at}`;

/**
 * @template {keyof Topics} T
 * @param {T} topic
 * @param {Topics[T]} value
 */
function tell(topic, value) {
  for (const handler of handlers[topic]) handler(value);
}

/**
 * @param {Cluster | null} before
 * @param {Cluster} now
 */
function announceChanges(before, now) {
  if (!before) return;
  const words = [];
  if (now.leader !== before.leader) {
    const name = now.nodes.find((node) => node.id === now.leader)?.name;
    words.push(name ? `${name} leads in term ${now.term}.` : "There is no leader.");
  }
  const known = new Set(before.alarms.map(alarmKey));
  words.push(
    ...now.alarms.filter((alarm) => !known.has(`${alarm.code}/${alarm.node}`)).map((alarm) => `${alarm.text}.`),
  );
  if (before.alarms.length > 0 && now.alarms.length === 0) words.push("All alarms are over.");
  if (words.length > 0) app.announce(words.join(" "));
}

function watchAge() {
  const age = heardAt ? performance.now() - heardAt : null;
  const old = (age ?? performance.now()) > OLD_MS;
  /** @type {Connection} */
  const connection = { connected, age_ms: age, old };
  strip.age(connection);
  attribute(document.documentElement, "data-old", old);
  const lost = old || refused !== "";
  if (lost) showLost(connection.age_ms);
  if (lost === banner.hidden) app.announce(lost ? (refused ? "Not live." : "Connection lost.") : "Connected again.");
  banner.hidden = !lost;
  tell("connection", connection);
}

/** @param {number | null} age */
function showLost(age) {
  if (!banner.firstChild) replace(banner, lostTitle, lostWords, otherNodes);
  text(lostTitle, refused ? "Not live." : "Connection lost.");
  text(
    lostWords,
    refused
      ? `${refused}. The node is asked every two seconds instead; events and queues stand still until there is a place.`
      : age === null
        ? "The node has told nothing yet; trying again."
        : `What is shown is ${duration(age)} old; trying again.`,
  );
  const others = (cluster?.nodes ?? []).filter(
    (node) => node.admin_address && node.reachable && node.id !== cluster?.asked.id,
  );
  const wanted = others.map((node) => node.admin_address).join(" ");
  if (otherNodes.dataset["of"] === wanted) return;
  otherNodes.dataset["of"] = wanted;
  const links = others.map((node) => h("a", { href: `http://${node.admin_address}/${location.hash}` }, node.name));
  replace(otherNodes, links.length > 0 && "Try another node:", links);
}

/**
 * Asks for the admin token where one is needed and none is known, or the known one is refused. Whoever has gone to another
 * page meanwhile is not asked: there, nobody would know what for.
 * @param {string} path
 * @param {object} body
 * @returns {Promise<any>}
 */
async function postWithToken(path, body) {
  const asked = turn;
  let token = sessionStorage.getItem(TOKEN_KEY);
  let why = cluster?.token_needed && !token ? TOKEN_NEEDED : "";
  for (;;) {
    if (why) token = turn === asked ? await askForToken(why) : null;
    if (why && token === null)
      throw new ApiError(401, "TOKEN_NEEDED", "Nothing was done: the admin token was not given.");
    try {
      const answer = await post(path, body, token);
      if (token) sessionStorage.setItem(TOKEN_KEY, token);
      return answer;
    } catch (error) {
      if (!(error instanceof ApiError) || !["TOKEN_NEEDED", "TOKEN_WRONG"].includes(error.reason)) throw error;
      why = token ? "This token is not the right one." : TOKEN_NEEDED;
      sessionStorage.removeItem(TOKEN_KEY);
    }
  }
}

async function route() {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const name = PAGES.some((page) => page.name === path) || BELOW.has(path) ? path : "cluster";
  app.params = new URLSearchParams(query);
  // Counted first: a page that still loads must not appear under this address.
  const mine = (turn += 1);
  const again = name === open.name && open.page === null;
  // A page that did not come has none that are about it, and whoever reads the list of keys meanwhile goes on reading.
  if (!again) closeDialogs();
  if (name === open.name && open.mounted?.navigate) return open.mounted.navigate(app.params);
  const turned = open.name !== "" && !again;
  // While the next page loads, this one stays to be looked at, and does nothing more: it must not write the address.
  open.mounted?.unmount();
  open.mounted = null;
  const page = await load(name);
  if (mine !== turn) return;
  open = { name, page, mounted: null };
  markNavigation(name);
  document.title = titleNow();
  const root = h("div", { class: "stack" });
  replace(main, root);
  if (turned) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
    app.announce(page?.title ?? "");
  }
  const mounted = page ? page.mount(root, app) : mountFailure(root);
  open.mounted = typeof mounted === "function" ? { unmount: mounted } : (mounted ?? null);
}

/**
 * @param {string} name
 * @returns {Promise<Page | null>}
 */
async function load(name) {
  try {
    /** @type {Page} */
    const page = await import(`./pages/${name}.js`);
    await Promise.all((page.styles ?? []).map((file) => loadStyle(`pages/${file}`)));
    return page;
  } catch (error) {
    console.warn(error);
    return null;
  }
}

/**
 * Stands in for a page whose files did not come, and asks for them again once the node is heard.
 * @param {HTMLElement} root
 * @returns {Mounted}
 */
function mountFailure(root) {
  const title = h("h2", null, "This page could not be loaded");
  // Some browsers keep that a module did not come, and do not ask for it again until the page is loaded anew.
  const words = "It is asked for again as soon as the node answers. Reload the page if it does not come.";
  replace(root, h("div", { class: "empty" }, title, h("p", null, words)));
  const notBefore = performance.now() + LOAD_PAUSE_MS;
  return { unmount: app.on("cluster", () => performance.now() > notBefore && route()) };
}

function titleNow() {
  const alarms = cluster?.alarms.length ? `(${counted(cluster.alarms.length, "alarm")}) ` : "";
  return `${alarms}${open.page?.title ?? "Cluster"} · Quorate`;
}

function drawNavigation() {
  replace(
    nav,
    ...PAGES.map(({ name, title }, place) => h("a", { href: `#/${name}`, "aria-keyshortcuts": place + 1 }, title)),
  );
}

/** @param {string} name */
function markNavigation(name) {
  const marked = `#/${BELOW.get(name) ?? name}`;
  for (const link of nav.children)
    attribute(link, "aria-current", link.getAttribute("href") === marked ? "page" : null);
}

function drawTools() {
  const theme = h(
    "button",
    { type: "button", class: "quiet icon", title: "Light or dark", "aria-label": "Light or dark", onclick: turnTheme },
    "◐",
  );
  const help = h(
    "button",
    {
      type: "button",
      class: "quiet icon",
      title: "Keys (?)",
      "aria-label": "Keys",
      "aria-keyshortcuts": "?",
      onclick: showHelp,
    },
    "?",
  );
  tools.append(askedName, theme, help);
}

/** Goes round: as the system has it, the other one, and back. */
function turnTheme() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const chosen = root.dataset["theme"] ?? system;
  const next = chosen === "dark" ? "light" : "dark";
  if (next === system) delete root.dataset["theme"];
  else root.dataset["theme"] = next;
  try {
    if (next === system) localStorage.removeItem("theme");
    else localStorage.setItem("theme", next);
  } catch {
    // Then it holds until the page is closed.
  }
  app.announce(`The page is ${next}.`);
}

function showHelp() {
  if (document.querySelector("dialog[open]")) return;
  /** @type {[string, string][]} */
  const pages = PAGES.map(({ title }, place) => [String(place + 1), title]);
  /** @type {[string, [string, string][]][]} */
  const groups = [["Everywhere", [...pages, ["t", "Light or dark"], ["?", "This list"], ["Esc", "Close a dialog"]]]];
  if (open.page?.keys) groups.push([open.page.title, open.page.keys]);
  openHelp(groups);
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  if (!isForPage(event)) return;
  const page = PAGES[Number(event.key) - 1];
  if (page) app.go(`#/${page.name}`);
  else if (event.key === "?") showHelp();
  else if (event.key === "t") turnTheme();
  else return;
  event.preventDefault();
}
