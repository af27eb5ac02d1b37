// Whether the cluster is well, and if not, where: a card for each node, a picture of what goes between them, and
// charts of one.

import { makeCard } from "../lib/card.js";
import { makeChart } from "../lib/chart.js";
import { attribute, h, list, text } from "../lib/dom.js";
import { bytes, counted, milliseconds, number, rate, shortId } from "../lib/format.js";
import { makeRing } from "../lib/ring.js";
import { quorumWords } from "../lib/strip.js";

/** @import { App, Cluster, History, Mounted, Part } from "../lib/types.js" */
/** @import { Chart } from "../lib/chart.js" */

export const title = "Cluster";
export const styles = ["cluster.css"];

/** A chart has a value for each five seconds. */
const HISTORY_EVERY_MS = 10_000;

const CHART_PX = 148;

/**
 * @typedef {object} ChartOf
 * @property {string} title
 * @property {keyof History["series"]} of
 * @property {(value: number | null) => string | null} unit
 * @property {string} colour
 */

/** @type {ChartOf[]} */
const CHARTS = [
  { title: "Commits", of: "commit_rate", unit: rate, colour: "--accent" },
  { title: "Commit p99", of: "commit_p99_ms", unit: milliseconds, colour: "--candidate" },
  { title: "fsync p99", of: "fsync_p99_ms", unit: milliseconds, colour: "--learner" },
  { title: "Memory", of: "memory", unit: bytes, colour: "--good" },
];

/**
 * @param {HTMLElement} root
 * @param {App} app
 * @returns {Mounted}
 */
export function mount(root, app) {
  const facts = h("p", { class: "muted" });
  const cards = h("div", { class: "grid", role: "list" });
  const ring = makeRing({ link: (node) => `#/cluster?node=${node.id}` });
  const charts = makeCharts(app);
  /** @type {string | null} */
  let chosen = app.params.get("node");
  let old = false;

  root.append(
    h("div", { class: "page-head" }, h("h1", null, "Cluster"), facts),
    cards,
    h(
      "div",
      { class: "below" },
      h(
        "section",
        { class: "card", "aria-label": "What goes between the nodes" },
        h("h2", null, "Heartbeats and votes"),
        ring.node,
      ),
      charts.node,
    ),
  );
  drawSkeleton(cards);

  /** @param {Cluster} cluster */
  function update(cluster) {
    const shown = chosenNode(cluster);
    const sights = cluster.nodes.map((node) => ({ node, cluster, chosen: node === shown, old }));
    cards.querySelectorAll(":scope > .waits").forEach((card) => card.remove());
    list(
      cards,
      sights,
      ({ node }) => node.id,
      () => makeItem(showCharts),
    );
    text(facts, factsOf(cluster));
    attribute(facts, "title", `cluster ${cluster.cluster_id}`);
    ring.update(cluster);
    charts.update(shown ?? null);
  }

  /** @param {Cluster} cluster */
  function chosenNode({ nodes, leader, asked }) {
    return (
      nodes.find((node) => node.id === chosen) ?? nodes.find((node) => node.id === (leader ?? asked.id)) ?? nodes[0]
    );
  }

  /** @param {string | null} id */
  function choose(id) {
    chosen = id;
    const cluster = app.cluster();
    if (!cluster) return;
    update(cluster);
    app.announce(`Charts of ${chosenNode(cluster)?.name}`);
  }

  /** @param {string} id */
  function showCharts(id) {
    app.replace(new URLSearchParams({ node: id }));
    choose(id);
    charts.node.scrollIntoView({ block: "nearest" });
  }

  const now = app.cluster();
  if (now) update(now);
  const offs = [
    app.on("cluster", update),
    app.on("connection", (connection) => {
      const cluster = app.cluster();
      if (connection.old === old || !cluster) return;
      old = connection.old;
      update(cluster);
    }),
  ];
  return {
    unmount() {
      for (const off of offs) off();
      charts.destroy();
    },
    navigate(params) {
      choose(params.get("node"));
      cards.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
    },
  };
}

/** @param {(id: string) => void} onCharts */
function makeItem(onCharts) {
  const card = makeCard(onCharts);
  return { node: h("div", { role: "listitem" }, card.node), update: card.update };
}

/** @param {HTMLElement} cards */
function drawSkeleton(cards) {
  for (let place = 0; place < 3; place += 1) {
    cards.append(
      h("div", { class: "card node-card waits", "aria-hidden": "true" }, h("p", { class: "skeleton" }, "node")),
    );
  }
}

/** @param {Cluster} cluster */
function factsOf(cluster) {
  if (cluster.voters === 0) return quorumWords(cluster);
  const learners = cluster.nodes.filter((node) => node.membership === "learner").length;
  const rule = cluster.quorum === "half_plus_one" ? " (half plus one)" : "";
  const quorum = `${number(cluster.needed)} of ${counted(cluster.voters, "voter")} commit${rule}`;
  return [
    quorum,
    learners > 0 && counted(learners, "learner"),
    cluster.joint && "a change of members is under way",
    `cluster ${shortId(cluster.cluster_id)}`,
  ]
    .filter(Boolean)
    .join(" · ");
}

/**
 * The last hour of one node.
 * @param {App} app
 * @returns {Part<Cluster["nodes"][number] | null> & {destroy: () => void}}
 */
function makeCharts(app) {
  const heading = h("h2");
  const problem = h("p", { class: "muted", hidden: true });
  /** @type {Chart[]} */
  const charts = CHARTS.map(({ title, unit, colour }) =>
    makeChart({ title, unit, height: CHART_PX, series: [{ label: title, colour }] }),
  );
  const node = h(
    "section",
    { class: "card", "aria-label": "Charts" },
    h("div", { class: "card-head" }, heading, problem),
    h(
      "div",
      { class: "charts" },
      charts.map((chart) => chart.node),
    ),
  );
  let of = "";
  let aborter = new AbortController();

  async function load() {
    if (of === "" || document.hidden) return;
    aborter.abort();
    aborter = new AbortController();
    const { signal } = aborter;
    try {
      /** @type {History} */
      const history = await app.get(`api/history?node=${encodeURIComponent(of)}`, signal);
      CHARTS.forEach((chart, place) => charts[place]?.update({ ...history, values: [history.series[chart.of]] }));
      problem.hidden = true;
    } catch (error) {
      if (signal.aborted) return;
      problem.hidden = false;
      text(problem, error instanceof Error ? error.message : String(error));
    }
  }

  const timer = setInterval(load, HISTORY_EVERY_MS);
  return {
    node,
    update(shown) {
      text(heading, shown ? `Last hour of ${shown.name}` : "Last hour");
      attribute(node, "aria-label", heading.textContent);
      if (!shown || shown.id === of) return;
      of = shown.id;
      load();
    },
    destroy() {
      clearInterval(timer);
      aborter.abort();
      for (const chart of charts) chart.destroy();
    },
  };
}
