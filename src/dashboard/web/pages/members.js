// Who belongs to the cluster, and changing that. No change is asked for before the page has shown what would come of
// it.

import { makeBadge } from "../lib/badge.js";
import { openDialog } from "../lib/dialog.js";
import { attribute, h, list, show, text } from "../lib/dom.js";
import { counted, duration, milliseconds, number } from "../lib/format.js";
import { shownRole } from "../lib/marks.js";
import { ofAFollower } from "../lib/readings.js";
import { quorumWords } from "../lib/strip.js";

/** @import { App, Cluster, MemberChange, MemberPlan, Node, Part, Voters } from "../lib/types.js" */
/** @typedef {import("../lib/dom.js").Child} Child */

export const title = "Members";
export const styles = ["members.css"];

/** So many nodes are named in the command: one would do, and one of three is alive. */
const ASKED_MAX = 3;

/** @type {Record<Node["membership"], string>} */
const MEMBERSHIP = { voter: "voter", learner: "learner", leaving: "voter, leaving", none: "no member" };

/**
 * @param {HTMLElement} root
 * @param {App} app
 */
export function mount(root, app) {
  const summary = h("p", { class: "muted" });
  const joint = h(
    "p",
    { class: "note", hidden: true },
    "A change of members is under way: until it is complete, a commit needs a quorum of the voters before it ",
    "and of those after it.",
  );
  const rows = h("tbody");
  const titles = ["Name", "Role", "Membership", "Client, peer address", "Lag", "Last contact", "Changes"];
  const heads = titles.map((title) =>
    h("th", { scope: "col", class: ["Lag", "Last contact"].includes(title) && "end" }, title),
  );
  const table = h(
    "table",
    { class: "plain members", role: "table", tabindex: -1 },
    h("caption", { class: "sr" }, "Members"),
    h("thead", null, h("tr", null, heads)),
    rows,
  );
  const adding = makeAdding(app);
  root.append(
    h("div", { class: "page-head" }, h("h1", null, "Members"), summary),
    joint,
    h("section", { class: "card scroll-x", "aria-label": "Members" }, table),
    adding.node,
  );

  /** @param {Cluster} cluster */
  function update(cluster) {
    text(summary, summaryOf(cluster));
    attribute(joint, "hidden", !cluster.joint);
    const focused = rows.contains(document.activeElement) ? document.activeElement : null;
    list(
      rows,
      cluster.nodes,
      (node) => node.id,
      () => makeRow(app),
    );
    // What had the focus is gone with its row, or is not offered any more.
    if (focused && (!focused.isConnected || focused.closest("[hidden]"))) table.focus({ preventScroll: true });
    adding.update(cluster);
  }

  const now = app.cluster();
  if (now) update(now);
  return app.on("cluster", update);
}

/** @param {Cluster} cluster */
function summaryOf(cluster) {
  const { nodes, voters, needed, tolerates } = cluster;
  if (voters === 0) return quorumWords(cluster);
  const learners = nodes.filter((node) => node.membership === "learner").length;
  const loses =
    tolerates < 0 ? `${counted(-tolerates, "voter")} too few are up` : `${counted(tolerates, "more node")} can be lost`;
  return [counted(voters, "voter"), learners > 0 && counted(learners, "learner"), `${needed} commit`, loses]
    .filter(Boolean)
    .join(" · ");
}

/**
 * @param {App} app
 * @returns {Part<Node>}
 */
function makeRow(app) {
  const name = h("strong");
  const id = h("code", { class: "muted" });
  const badge = makeBadge();
  const membership = h("span");
  const clients = h("code");
  const peers = h("code", { class: "muted" });
  const lag = h("td", { class: "end", role: "cell", "data-title": "Lag" });
  const contact = h("td", { class: "end", role: "cell", "data-title": "Last contact" });
  /** @type {Node | null} */
  let shown = null;
  /** @param {MemberChange["action"]} action */
  const act = (action) => () => shown && propose(app, { action, member: shown.name }, shown.name);
  const promote = h("button", { type: "button", onclick: act("promote") }, "Promote");
  const transfer = h("button", { type: "button", onclick: act("transfer") }, "Make leader");
  const remove = h("button", { type: "button", class: "danger", onclick: act("remove") }, "Remove");
  const node = h(
    "tr",
    null,
    h("th", { scope: "row", role: "rowheader" }, name, h("br"), id),
    h("td", { role: "cell", "data-title": "Role" }, badge.node),
    h("td", { role: "cell", "data-title": "Membership" }, membership),
    h("td", { role: "cell", "data-title": "Client, peer address" }, h("span", { class: "addresses" }, clients, peers)),
    lag,
    contact,
    h("td", { role: "cell", "data-title": "Changes" }, h("div", { class: "row" }, promote, transfer, remove)),
  );

  /** @param {Node} value */
  function update(value) {
    shown = value;
    text(name, value.name);
    text(id, value.id);
    badge.update(value);
    text(membership, MEMBERSHIP[value.membership]);
    text(clients, value.client_address);
    text(peers, value.peer_address);
    const leads = shownRole(value) === "leader";
    const cluster = app.cluster();
    const why = cluster ? ofAFollower(value, cluster) : "";
    show(lag, value.lag === null ? null : value.lag === 0 ? "none" : counted(value.lag, "entry", "entries"), why);
    show(contact, contactOf(value), why);
    attribute(promote, "hidden", value.membership !== "learner");
    attribute(transfer, "hidden", value.membership !== "voter" || leads);
    attribute(remove, "hidden", value.membership === "none");
    for (const button of [promote, transfer, remove])
      attribute(button, "aria-label", `${button.textContent} ${value.name}`);
  }
  return { node, update };
}

/** @param {Node} node */
const contactOf = ({ last_contact_ms: ms }) => ((ms ?? 0) < 1000 ? milliseconds(ms) : duration(ms));

/** A plan that takes longer says what it waits for: a member that is silent, or the election of a leader. */
const SLOW_MS = 400;

/** Since when a plan is waited for; null: none is. */
let planningSince = /** @type {number | null} */ (null);

/**
 * What a change would do; null: another plan is waited for, or the page was left meanwhile.
 * @param {App} app
 * @param {MemberChange} change
 * @returns {Promise<MemberPlan | null>}
 */
async function planOf(app, change) {
  const tell = () => {
    // Where the token is asked for, it is that which is waited for.
    if (!document.querySelector("dialog[open]")) app.toast("Waits for the members to answer, and for one to lead.");
  };
  if (planningSince !== null) {
    // The second of two quick clicks is no question.
    if (performance.now() - planningSince > SLOW_MS) tell();
    return null;
  }
  planningSince = performance.now();
  const slow = setTimeout(tell, SLOW_MS);
  const page = location.hash;
  try {
    const plan = await app.post("api/members/plan", change);
    return location.hash === page ? plan : null;
  } finally {
    clearTimeout(slow);
    planningSince = null;
  }
}

/**
 * Shows what a change would do, and carries it out when it is confirmed.
 * @param {App} app
 * @param {MemberChange} change
 * @param {string} name Of the node that it is about.
 */
async function propose(app, change, name) {
  const words = WORDS[change.action];
  /** @type {MemberPlan | null} */
  let plan;
  try {
    plan = await planOf(app, change);
  } catch (error) {
    return app.toast(messageOf(error), "bad");
  }
  if (!plan) return;
  const leader = app.cluster()?.nodes.find((node) => node.id === app.cluster()?.leader)?.name ?? null;
  const heading = words.title(name);
  if (!plan.allowed) {
    const refusal = h(
      "p",
      { class: "note", "data-level": "bad" },
      h("strong", null, "This cannot be done. "),
      plan.why,
    );
    openDialog({ title: heading, content: [refusal, comparison(plan, leader)] });
    return;
  }
  const typed = h("input", {
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => dialog.enable(typed.value === name),
  });
  const dialog = openDialog({
    title: heading,
    content: [
      h("p", null, words.means),
      comparison(plan, leader),
      warning(plan),
      stepList(plan.steps),
      change.action === "remove" &&
        h("label", { class: "field" }, h("span", null, "Type ", h("strong", null, name), " to confirm"), typed),
    ],
    confirm: words.confirm,
    danger: change.action === "remove",
    toast: app.toast,
    action: async () => {
      const done = await app.post("api/members/change", change);
      app.toast(done.text || `${heading}: done.`);
    },
  });
  if (change.action === "remove") {
    dialog.enable(false);
    typed.focus();
  }
  return dialog.closed;
}

/** @type {Record<MemberChange["action"], {title: (name: string) => string, means: string, confirm: string}>} */
const WORDS = {
  add: {
    title: (name) => `Add ${name}`,
    means: "The node receives the log as a learner. It must run, with this id, and be reached at these addresses.",
    confirm: "Add",
  },
  promote: { title: (name) => `Promote ${name}`, means: "The learner gets a vote.", confirm: "Promote" },
  remove: {
    title: (name) => `Remove ${name}`,
    means:
      "The node has no vote and receives nothing any more. Its data stays on its disk. It can come back only as " +
      "another node.",
    confirm: "Remove",
  },
  transfer: {
    title: (name) => `Make ${name} the leader`,
    means: "The leader hands over once this node has all of the log. Requests wait for about one round trip.",
    confirm: "Make leader",
  },
};

/**
 * The voters before and after, side by side; what differs is marked.
 * @param {MemberPlan} plan
 * @param {string | null} leader
 */
function comparison({ before, after, leader_after }, leader) {
  /** @type {[string, Child, Child, boolean][]} */
  const rows = [
    ["Voters", ...names(before.voters, after.voters)],
    ["Learners", ...names(before.learners, after.learners)],
    ["Needed to commit", number(before.needed), number(after.needed), before.needed !== after.needed],
    ["Failures tolerated", tolerated(before), tolerated(after), before.tolerates !== after.tolerates],
    ["Leader", leader ?? "none", leader_after ?? "whoever is elected", leader !== leader_after],
  ];
  const body = rows.map(([label, was, is, differs]) =>
    h(
      "tr",
      { class: differs && "differs" },
      h("th", { scope: "row" }, label),
      h("td", null, was),
      h("td", null, is, differs && h("span", { class: "sr" }, " (changes)")),
    ),
  );
  return h(
    "table",
    { class: "plain comparison" },
    h("thead", null, h("tr", null, h("td"), h("th", { scope: "col" }, "Before"), h("th", { scope: "col" }, "After"))),
    h("tbody", null, body),
  );
}

/** @param {MemberPlan} plan */
function warning({ before, after }) {
  if (after.tolerates >= before.tolerates || after.tolerates > 0) return null;
  return h("p", { class: "note", "data-level": "warn" }, "After this, the loss of one more voter stops the cluster.");
}

/**
 * @param {string[]} before
 * @param {string[]} after
 * @returns {[Child, Child, boolean]}
 */
function names(before, after) {
  const joined = (/** @type {string[]} */ all, /** @type {string[]} */ others, /** @type {"ins" | "del"} */ tag) =>
    all.length === 0
      ? "none"
      : all.map((name, place) => [place > 0 && ", ", others.includes(name) ? name : h(tag, null, name)]);
  return [joined(before, after, "del"), joined(after, before, "ins"), before.join() !== after.join()];
}

/** @param {Voters} voters */
const tolerated = ({ tolerates }) => (tolerates < 0 ? `${number(-tolerates)} too few are up` : number(tolerates));

/** @param {string[]} steps */
const stepList = (steps) =>
  steps.length > 0 &&
  h(
    "div",
    null,
    h("h3", null, "What happens"),
    h(
      "ol",
      { class: "steps" },
      steps.map((step) => h("li", null, step)),
    ),
  );

/**
 * How a node is added: by starting it, which is the usual way, or by hand.
 * @param {App} app
 * @returns {Part<Cluster>}
 */
function makeAdding(app) {
  const command = h("pre", { tabindex: 0, "aria-label": "Command" });
  const copied = h("button", { type: "button", onclick: () => copy(command, app) }, "Copy");
  const form = makeForm(app);
  const node = h(
    "section",
    { class: "card stack", "aria-label": "Add a node" },
    h("h2", null, "Add a node"),
    h(
      "p",
      null,
      "A node that is started with --join applies by itself: it receives the log as a learner, and becomes a voter ",
      "once it has caught up. A node under the name of a dead member takes its place.",
    ),
    h("div", { class: "command" }, command, copied),
    h("details", null, h("summary", null, "Add one by hand, or one that is to stay a learner"), form),
  );
  return {
    node,
    update(cluster) {
      const known = cluster.nodes
        .filter((each) => each.membership === "voter" && each.reachable)
        .map((each) => each.client_address);
      const ask = known.slice(0, ASKED_MAX).join(",") || "HOST:7400";
      text(command, `quorate server --name NAME --listen HOST:7400 --data /var/lib/quorate --join ${ask}`);
    },
  };
}

/** @param {App} app */
function makeForm(app) {
  const name = field("name", "Name", "d", "[A-Za-z0-9._\\-]+");
  const id = field("id", "Node id: quorate status on the node shows it", "9f3c2d1e7a604b18", "[0-9a-fA-F]{16}");
  const client = field("client", "Client address", "10.0.0.4:7400", ".+:[0-9]{1,5}");
  const peer = field("peer", "Peer address", "10.0.0.4:7401", ".+:[0-9]{1,5}");
  const stay = h("input", { type: "checkbox" });
  const form = h(
    "form",
    { class: "add-form" },
    [name, id, client, peer].map((each) => each.label),
    h("label", { class: "check" }, stay, "It stays a learner until it is promoted"),
    h("div", null, h("button", { type: "submit" }, "Show what would change")),
  );
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    /** @type {MemberChange} */
    const change = {
      action: "add",
      id: id.input.value.trim(),
      name: name.input.value.trim(),
      client_address: client.input.value.trim(),
      peer_address: peer.input.value.trim(),
      stay_learner: stay.checked,
    };
    if (await propose(app, change, change.name ?? "")) form.reset();
  });
  return form;
}

/**
 * @param {string} name
 * @param {string} title
 * @param {string} example
 * @param {string} pattern
 */
function field(name, title, example, pattern) {
  const input = h("input", {
    name,
    required: true,
    placeholder: example,
    pattern,
    autocomplete: "off",
    spellcheck: "false",
  });
  return { input, label: h("label", { class: "field" }, h("span", null, title), input) };
}

/**
 * A page without encryption may not write to the clipboard by itself; then the words are marked for the reader to copy.
 * @param {HTMLElement} node
 * @param {App} app
 */
async function copy(node, app) {
  try {
    await navigator.clipboard.writeText(node.textContent ?? "");
    app.toast("Copied.");
  } catch {
    getSelection()?.selectAllChildren(node);
    app.toast(document.execCommand("copy") ? "Copied." : "Marked: press Ctrl+C to copy.");
  }
}

/** @param {unknown} error */
const messageOf = (error) => (error instanceof Error ? error.message : String(error));
