// A picture of the cluster: its nodes on a ring, and what goes between them.
//
//     const ring = makeRing({ link: (node) => `#/cluster?node=${node.id}` });
//     root.append(ring.node);
//     ring.update(cluster); // with each message of the stream
//
// A round dot goes from the leader to a node when heartbeats went there since the last update, and a hollow one comes
// back when answers did; one that is not answered fades on its way. A square is a request for a vote, or a vote. The
// outline of a node is as complete as its log, measured against the longest. The line of words below the picture says
// the same, and is all that changes for a reader who wants no motion.

import { UNKNOWN, attribute, h, list, svg, text } from "./dom.js";
import { counted, number, shortName } from "./format.js";
import { roleWord, shape, shownRole } from "./marks.js";

/** @import { Cluster, Node, Part } from "./types.js" */
/** @typedef {{x: number, y: number}} Point */
/** @typedef {"beat" | "answer" | "ask" | "vote"} Message */

const HEIGHT = 312;
const RADIUS = 25;
const ROUND = 2 * Math.PI * RADIUS;

/** Where the centres of the nodes are. */
const CENTRE = { x: 0, y: HEIGHT / 2 };
const REACH = { x: 118, y: 92 };

/** So many letters of a name have room beside a node. */
const NAME_MAX = 11;
const LETTER_PX = 8;
const LABEL_PX = 54;

/** How long a dot is on its way. There and back fits between two updates and a half. */
const TRAVEL_MS = 450;
const VOTE_MS = 800;

/** More dots than this are not drawn at once: a page that falls behind must not fall further. */
const DOTS_MAX = 100;

/**
 * @param {{link: (node: Node) => string}} options
 * @returns {Part<Cluster>}
 */
export function makeRing({ link }) {
  const links = svg("g", { class: "links" });
  const dots = svg("g");
  const bodies = svg("g");
  const picture = svg("svg", { role: "group", "aria-label": "The nodes" }, links, dots, bodies);
  const words = h("figcaption");
  const node = h("figure", { class: "ring" }, picture, words, legend());
  const stillness = matchMedia("(prefers-reduced-motion: reduce)");
  /** @type {Map<string, Point>} */
  let places = new Map();
  /** @type {Cluster | null} */
  let before = null;

  /** @param {Cluster} cluster */
  function update(cluster) {
    places = arrange(cluster.nodes);
    attribute(picture, "viewBox", viewBoxFor(cluster.nodes));
    const longest = Math.max(1, ...cluster.nodes.map((each) => each.last ?? 0));
    list(
      bodies,
      cluster.nodes,
      (each) => each.id,
      () => makeBody({ link, longest: () => longest, place: placeOf }),
    );
    list(
      links,
      linksOf(cluster),
      ([from, to]) => `${from.id}/${to.id}`,
      () => makeLink(placeOf),
    );
    text(words, describe(cluster));
    if (before && !document.hidden && !stillness.matches) move(before, cluster);
    before = cluster;
  }

  /** @param {string} id */
  function placeOf(id) {
    return places.get(id) ?? CENTRE;
  }

  /**
   * @param {Cluster} was
   * @param {Cluster} is
   */
  function move(was, is) {
    const others = is.nodes.filter((each) => each.id !== is.leader);
    if (is.leader !== null && (is.leader !== was.leader || is.term !== was.term)) return elected(is, others);
    for (const each of is.nodes.filter(asksForVotes)) {
      for (const other of is.nodes) if (other !== each) send(each.id, other.id, "ask", { lost: !other.reachable });
      for (const voter of votersFor(each, is.nodes)) send(voter.id, each.id, "vote", { after: TRAVEL_MS });
    }
    if (is.leader === null) return;
    for (const each of others) {
      const then = was.nodes.find((one) => one.id === each.id);
      const heard = grown(then?.heartbeats_heard, each.heartbeats_heard);
      if (grown(then?.heartbeats_sent, each.heartbeats_sent)) send(is.leader, each.id, "beat", { lost: !heard });
      if (heard) send(each.id, is.leader, "answer", { after: TRAVEL_MS });
    }
  }

  /**
   * An election is over sooner than two updates see: what its votes were is shown when its leader is known.
   * @param {Cluster} cluster
   * @param {Node[]} others
   */
  function elected(cluster, others) {
    const leader = cluster.nodes.find((each) => each.id === cluster.leader);
    if (!leader) return;
    for (const each of others) send(leader.id, each.id, "ask", { lost: !each.reachable });
    for (const voter of votersFor(leader, others))
      send(voter.id, leader.id, "vote", { after: TRAVEL_MS, lasts: VOTE_MS });
  }

  /**
   * @param {string} from
   * @param {string} to
   * @param {Message} message
   * @param {{lost?: boolean, after?: number, lasts?: number}} [how]
   */
  function send(from, to, message, { lost = false, after = 0, lasts = TRAVEL_MS } = {}) {
    if (dots.childElementCount >= DOTS_MAX) return;
    const [start, end] = between(placeOf(from), placeOf(to));
    const dot = svg("path", {
      class: `dot ${message}`,
      d: message === "beat" || message === "answer" ? "M-4 0a4 4 0 1 1 8 0a4 4 0 1 1-8 0Z" : "M-4-4h8v8h-8Z",
    });
    dots.append(dot);
    const frames = [
      { transform: `translate(${start.x}px, ${start.y}px)`, opacity: 1 },
      { transform: `translate(${end.x}px, ${end.y}px)`, opacity: lost ? 0 : 1 },
    ];
    const motion = dot.animate(frames, { duration: lasts, delay: after, easing: "ease-in-out", fill: "forwards" });
    motion.onfinish = () => dot.remove();
  }

  return { node, update };
}

/**
 * As narrow as the names allow, so that all is large.
 * @param {readonly Node[]} nodes
 */
function viewBoxFor(nodes) {
  const letters = Math.max(0, ...nodes.map(({ name }) => shortName(name, NAME_MAX).length));
  const half = REACH.x + RADIUS + 10 + Math.max(LABEL_PX, letters * LETTER_PX);
  return `${-half} 0 ${2 * half} ${HEIGHT}`;
}

/**
 * @param {readonly Node[]} nodes
 * @returns {Map<string, Point>}
 */
function arrange(nodes) {
  if (nodes.length === 1) return new Map(nodes.map((node) => [node.id, CENTRE]));
  const begin = nodes.length === 2 ? Math.PI : -Math.PI / 2;
  return new Map(
    nodes.map((node, place) => {
      const angle = begin + (2 * Math.PI * place) / nodes.length;
      return [node.id, { x: CENTRE.x + REACH.x * Math.cos(angle), y: CENTRE.y + REACH.y * Math.sin(angle) }];
    }),
  );
}

/**
 * From the edge of one node to the edge of another.
 * @param {Point} from
 * @param {Point} to
 * @returns {[Point, Point]}
 */
function between(from, to) {
  const far = Math.hypot(to.x - from.x, to.y - from.y) || 1;
  const step = { x: ((to.x - from.x) / far) * (RADIUS + 3), y: ((to.y - from.y) / far) * (RADIUS + 3) };
  return [
    { x: from.x + step.x, y: from.y + step.y },
    { x: to.x - step.x, y: to.y - step.y },
  ];
}

/**
 * @param {{link: (node: Node) => string, longest: () => number, place: (id: string) => Point}} how
 * @returns {Part<Node>}
 */
function makeBody({ link, longest, place }) {
  const log = svg("circle", { r: RADIUS, class: "log", transform: "rotate(-90)" });
  const sign = svg("g", { class: "sign", transform: "translate(-10.8 -10.8) scale(1.8)" });
  const name = svg("text", { class: "name" });
  const role = svg("text", { class: "role" });
  const anchor = svg("a", null, svg("circle", { r: RADIUS, class: "body" }), log, sign, name, " ", role);
  const node = svg("g", null, anchor);
  let shown = "";

  /** @param {Node} value */
  function update(value) {
    const { x, y } = place(value.id);
    const as = shownRole(value);
    putLabel({ x: x - CENTRE.x, y: y - CENTRE.y }, name, role);
    attribute(node, "transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    attribute(node, "data-role", as);
    attribute(anchor, "href", link(value));
    attribute(anchor, "aria-label", `${value.name} ${stateOf(value)}, ${roleWord(as)}`);
    attribute(log, "stroke-dasharray", `${(((value.last ?? 0) / longest()) * ROUND).toFixed(1)} ${ROUND.toFixed(1)}`);
    text(name, shortName(value.name, NAME_MAX));
    text(role, stateOf(value));
    if (shown !== as) sign.replaceChildren(shape(as));
    shown = as;
  }
  return { node, update };
}

/** @param {Node} node */
const stateOf = (node) => (node.reachable ? `term ${number(node.term) ?? UNKNOWN}` : "no answer");

/**
 * Puts the words of a node on the side that faces away from all others.
 * @param {Point} outward From the centre to the node.
 * @param {SVGTextElement} name
 * @param {SVGTextElement} role
 */
function putLabel(outward, name, role) {
  const beside = Math.abs(outward.x) > REACH.x * 0.35;
  const side = Math.sign(outward.x);
  const above = !beside && outward.y < 0;
  const first = beside ? -1 : above ? -(RADIUS + 21) : RADIUS + 17;
  [name, role].forEach((label, line) => {
    attribute(label, "text-anchor", !beside ? "middle" : side > 0 ? "start" : "end");
    attribute(label, "x", beside ? side * (RADIUS + 8) : 0);
    attribute(label, "y", first + line * 14);
  });
}

/**
 * @param {(id: string) => Point} place
 * @returns {Part<[Node, Node]>}
 */
function makeLink(place) {
  const node = svg("line");
  return {
    node,
    update([from, to]) {
      const [start, end] = between(place(from.id), place(to.id));
      const numbers = { x1: start.x, y1: start.y, x2: end.x, y2: end.y };
      for (const [name, value] of Object.entries(numbers)) attribute(node, name, value.toFixed(1));
      attribute(
        node,
        "class",
        !to.reachable || !from.reachable
          ? "lost"
          : asksForVotes(to)
            ? "vote"
            : to.membership === "voter"
              ? ""
              : "learner",
      );
    },
  };
}

/**
 * From the leader to everybody; while there is none, from each voter to the candidate that has its vote.
 * @param {Cluster} cluster
 * @returns {[Node, Node][]}
 */
function linksOf({ nodes, leader }) {
  const leads = nodes.find((node) => node.id === leader);
  if (leads) return nodes.filter((node) => node !== leads).map((node) => [leads, node]);
  return nodes
    .filter(asksForVotes)
    .flatMap((candidate) =>
      votersFor(candidate, nodes).map((voter) => /** @type {[Node, Node]} */ ([voter, candidate])),
    );
}

/** @param {Node} node */
const asksForVotes = (node) => node.reachable && (node.role === "candidate" || node.role === "pre_candidate");

/**
 * Others that have given their vote to `candidate`, in its term. Votes of that term are no answers to a pre-candidate, which
 * asks for the next one.
 * @param {Node} candidate
 * @param {Node[]} nodes
 */
const votersFor = (candidate, nodes) =>
  nodes.filter(
    (node) =>
      candidate.role !== "pre_candidate" &&
      node !== candidate &&
      node.voted_for === candidate.id &&
      node.term === candidate.term,
  );

/**
 * @param {number | null | undefined} was
 * @param {number | null} is
 */
const grown = (was, is) => was !== null && was !== undefined && is !== null && is > was;

/** @param {Cluster} cluster */
function describe(cluster) {
  const { nodes, leader, term } = cluster;
  const leads = nodes.find((node) => node.id === leader);
  const others = nodes.filter((node) => node.id !== leader);
  if (leads && others.length === 0) return `${leads.name} leads term ${term}, alone.`;
  if (leads) {
    const silent = others.filter((node) => !node.reachable).map((node) => node.name);
    const answers =
      silent.length === 0 ? "all answer" : `${silent.join(", ")} ${silent.length === 1 ? "does" : "do"} not answer`;
    return `${leads.name} leads term ${term} and sends heartbeats to ${counted(others.length, "node")}: ${answers}.`;
  }
  const candidates = nodes.filter(asksForVotes);
  if (candidates.length > 0) return `Nobody leads. ${candidates.map(askingWords).join(", ")}.`;
  return nodes.length === 0 ? "No node is known." : "Nobody leads, and nobody asks for votes yet.";
}

/**
 * A pre-vote is for the term that would come next.
 * @param {Node} node
 */
const askingWords = ({ name, role, term }) =>
  role === "candidate"
    ? `${name} asks for votes in term ${term}`
    : `${name} asks for pre-votes in term ${(term ?? 0) + 1}`;

function legend() {
  return h(
    "p",
    { class: "legend", "aria-hidden": "true" },
    h("span", { class: "beat" }, "heartbeat"),
    h("span", { class: "answer" }, "answer"),
    h("span", { class: "ask" }, "asks for a vote"),
    h("span", { class: "vote" }, "vote"),
  );
}
