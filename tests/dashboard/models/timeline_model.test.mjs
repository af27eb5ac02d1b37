// How events become lanes, intervals and arrows. Run with `node --test tests/dashboard/models`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { configurations, memberships } from "../../../src/dashboard/web/pages/timeline_members.js";
import {
  arrows,
  lanes,
  marks,
  merged,
  panned,
  placeAt,
  skew,
  stepDowns,
  ticks,
  zoomed,
} from "../../../src/dashboard/web/pages/timeline_model.js";

let seq = 0;
const event = (name, at, event, more = {}) => ({
  node: `id-${name}`,
  name,
  seq: ++seq,
  at,
  event,
  words: event,
  kind: "role",
  level: "info",
  peer: null,
  term: null,
  index: null,
  ...more,
});
const node = (name, more = {}) => ({
  id: `id-${name}`,
  name,
  reachable: true,
  seen_at: 1,
  role: "follower",
  term: 2,
  ...more,
});

const election = [
  event("a", 100, "becomes_leader", { term: 1 }),
  event("b", 101, "follows_leader", { peer: "a", term: 1 }),
  event("b", 500, "becomes_pre_candidate", { term: 1 }),
  event("c", 502, "vote_granted", { peer: "b", term: 2, words: "would vote for b in term 2" }),
  event("b", 504, "vote_received", { peer: "c", term: 2, words: "has the pre-vote of c in term 2" }),
  event("b", 505, "becomes_candidate", { term: 2 }),
  event("c", 508, "vote_granted", { peer: "b", term: 2, words: "votes for b in term 2" }),
  event("b", 511, "vote_received", { peer: "c", term: 2, words: "has the vote of c in term 2" }),
  event("b", 512, "becomes_leader", { term: 2 }),
  event("a", 520, "becomes_follower", { term: 2 }),
];

test("roles are intervals without gaps", () => {
  const [a, b, c] = lanes(election, [node("a"), node("b", { role: "leader" }), node("c")]);
  const short = (lane) => lane.roles.map(({ role, term, from }) => [role, term, from]);
  assert.deepEqual(short(a), [
    ["unknown", null, -Infinity],
    ["leader", 1, 100],
    ["follower", 2, 520],
  ]);
  assert.deepEqual(short(b), [
    ["unknown", null, -Infinity],
    ["follower", 1, 101],
    ["pre_candidate", 1, 500],
    ["candidate", 2, 505],
    ["leader", 2, 512],
  ]);
  assert.deepEqual(short(c), [
    ["unknown", null, -Infinity],
    ["follower", 2, 508],
  ]);
  for (const lane of [a, b, c]) lane.roles.slice(1).forEach((role, at) => assert.equal(role.from, lane.roles[at].to));
});

test("a node tells its role where no event does", () => {
  const [d, e] = lanes([], [node("d", { role: "learner", term: 7 }), node("e", { reachable: false, role: "leader" })]);
  assert.deepEqual([d.roles[0].role, d.roles[0].term], ["learner", 7]);
  assert.equal(e.roles[0].role, "unknown", "what a node said that is gone is no longer so");
  assert.deepEqual([e.absences[0].role, e.absences[0].from], ["unreachable", 1]);
});

test("a restart ends what was", () => {
  const events = [event("a", 1, "becomes_leader", { term: 1 }), event("a", 9, "started", { kind: "process" })];
  const [a] = lanes(events, [node("a", { role: null })]);
  assert.deepEqual(
    a.roles.map(({ role }) => role),
    ["unknown", "leader", "unknown"],
  );
});

test("a leader that becomes something else steps down; one that restarts does not", () => {
  const restarted = event("b", 900, "started", { kind: "process" });
  const [a, b] = lanes([...election, restarted], [node("a"), node("b")]);
  assert.deepEqual(
    [...stepDowns(a)].map(({ at }) => at),
    [520],
  );
  assert.deepEqual([...stepDowns(b)], []);
});

test("events of several sources are merged by time, each once", () => {
  const [first, second, third] = election;
  const both = merged([first, third], [second, third]);
  assert.deepEqual(both, [first, second, third]);
  assert.equal(merged(both, [second]), both, "nothing is new");
  assert.deepEqual([placeAt(both, 0), placeAt(both, 101), placeAt(both, 102), placeAt(both, 900)], [0, 1, 2, 3]);
});

test("a node that comes back was away since another lost the connection to it", () => {
  const lost = event("b", 700, "disconnected", { kind: "connection", level: "warn", peer: "a" });
  const back = event("a", 900, "started", { kind: "process" });
  const [a] = lanes([...election, lost, back], [node("a"), node("b")]);
  assert.deepEqual(
    a.absences.map(({ role, from, to }) => [role, from, to]),
    [["unreachable", 700, 900]],
  );
  const [unnoticed] = lanes([...election, back], [node("a")]);
  assert.deepEqual(unnoticed.absences, []);
});

test("a node that comes back tells first what it has recovered", () => {
  const lost = event("b", 700, "disconnected", { kind: "connection", level: "warn", peer: "a" });
  const back = ["recovered", "started"].map((words) => event("a", 900, words, { kind: "process" }));
  const [a] = lanes([...election, lost, ...back], [node("a"), node("b")]);
  assert.deepEqual(
    a.absences.map(({ from, to }) => [from, to]),
    [[700, 900]],
  );
});

const configuration = (name, at, index, names) =>
  event(name, at, "configuration_changed", {
    kind: "membership",
    index,
    words: `takes on the configuration at ${index}: ${names}`,
  });
const short = ({ roles }) => roles.map(({ role, term, from, to }) => [role, term, from, to]);

test("the lane of a node that was removed ends, and its absence with it", () => {
  const events = [
    configuration("a", 100, 8, "voters a, b, c"),
    event("c", 110, "follows_leader", { term: 2 }),
    event("b", 300, "disconnected", { kind: "connection", level: "warn", peer: "c" }),
    configuration("a", 500, 9, "voters a, b; outgoing a, b, c"),
    configuration("a", 510, 10, "voters a, b"),
    // Whoever joins tells of all that was before.
    configuration("d", 600, 8, "voters a, b, c"),
    configuration("d", 601, 10, "voters a, b"),
  ];
  const [, , d, c] = lanes(events, [node("a"), node("b"), node("d")]);
  assert.deepEqual(short(c), [
    ["unknown", null, -Infinity, 110],
    ["follower", 2, 110, 510],
    ["removed", null, 510, Infinity],
  ]);
  assert.deepEqual(
    c.absences.map(({ from, to }) => [from, to]),
    [[300, 510]],
  );
  assert.deepEqual([c.id, d.id], ["id-c", null]);
  const [first] = lanes([event("c", 110, "follows_leader", { term: 2 })], []);
  assert.equal(first.roles.at(-1).role, "follower", "before the cluster is known nobody has left it");
});

test("nobody is removed by a sentence that was cut", () => {
  const many = Array.from({ length: 300 }, (_, place) => `n${place}`).join(", ");
  const cut = (index, names) => {
    const told = configuration("a", 100 * index, index, names);
    return { ...told, words: `${told.words.slice(0, 1000)}...` };
  };
  const known = configuration("a", 100, 1, "voters a, b; learners z");
  const all = configurations([
    known,
    cut(2, `voters a, b, ${many}; learners z`),
    configuration("a", 900, 3, "voters a"),
  ]);
  const life = { from: -Infinity, until: Infinity };
  const told = (name) => memberships(name, all, life).map(({ at, kind }) => [at, kind]);
  assert.deepEqual(told("a"), [[100, "voter"]]);
  assert.deepEqual(told("z"), [
    [100, "learner"],
    [900, "none"],
  ]);
  assert.ok(!all[1].voters.some((name) => name.endsWith(".")), "half a name is none");
});

test("a configuration that was rolled back is followed by the one in its place", () => {
  const started = event("a", 450, "started", { kind: "process" });
  const rolledBack = [
    configuration("a", 100, 8, "voters a, b, c"),
    configuration("a", 200, 10, "voters a, b, c; learners d"),
    configuration("b", 300, 10, "voters a, b, c; learners e"),
    configuration("a", 400, 8, "voters a, b, c"),
    configuration("a", 401, 10, "voters a, b, c; learners e"),
  ];
  const learners = (events) => configurations(events).map(({ at, learners }) => [at, ...learners]);
  assert.deepEqual(learners(rolledBack), [[100], [200, "d"], [400], [401, "e"]]);
  const again = [started, configuration("a", 460, 8, "voters a, b, c")];
  assert.equal(learners([...rolledBack, ...again]).length, 4, "it reads its log once more");
});

test("a node that was replaced can be told from the one that has its name", () => {
  const replacement = { node: "new-id-of-c" };
  const events = [
    configuration("a", 100, 8, "voters a, b, c"),
    event("c", 110, "follows_leader", { term: 2 }),
    event("b", 300, "disconnected", { kind: "connection", level: "warn", peer: "c" }),
    event("c", 400, "started", { kind: "process", ...replacement }),
    configuration("a", 500, 12, "voters a, b, c; learners c"),
    event("c", 505, "becomes_follower", { term: 2, ...replacement }),
    { ...configuration("c", 506, 8, "voters a, b, c"), ...replacement },
    configuration("a", 520, 13, "voters a, b, c; outgoing a, b, c"),
    configuration("a", 530, 14, "voters a, b, c"),
    configuration("a", 900, 15, "voters a, b, c; learners d"),
  ];
  const after = lanes(events, [node("a"), node("b"), node("c", { id: "new-id-of-c", membership: "voter" })]);
  const [, , young, old] = after;
  assert.deepEqual(short(old), [
    ["unknown", null, -Infinity, 110],
    ["follower", 2, 110, 530],
    ["replaced", null, 530, Infinity],
  ]);
  assert.deepEqual(
    old.absences.map(({ from, to }) => [from, to]),
    [[300, 530]],
  );
  assert.deepEqual(short(young), [
    ["unknown", null, -Infinity, 505],
    ["learner", 2, 505, 520],
    ["follower", 2, 520, Infinity],
  ]);
  assert.deepEqual([old.id, young.id], ["id-c", "new-id-o"]);
});

test("who was a learner stays one in the past, once it votes", () => {
  const events = [
    configuration("a", 100, 15, "voters a, b, c; learners d"),
    event("d", 120, "becomes_follower", { term: 5 }),
  ];
  // It has nothing of the log yet, and takes itself for an outsider.
  const [before] = lanes(events, [node("d", { role: "outsider", term: 5, membership: "learner" })]);
  assert.deepEqual(short(before).at(-1), ["learner", 5, 120, Infinity]);
  const promoted = configuration("a", 300, 16, "voters a, b, c, d; outgoing a, b, c");
  const [d] = lanes([...events, promoted], [node("d", { role: "follower", term: 5, membership: "voter" })]);
  assert.deepEqual(short(d).slice(1), [
    ["learner", 5, 120, 300],
    ["follower", 5, 300, Infinity],
  ]);
  const [renamed] = lanes(events, [node("z", { id: "id-d", membership: "voter" })]);
  assert.equal(renamed.roles.at(-1).role, "follower");
});

test("votes go from who gives to who gets them", () => {
  const [pre, vote] = arrows(election);
  assert.deepEqual([pre.kind, pre.from, pre.to, pre.at, pre.until], ["pre_vote", "id-c", "id-b", 502, 504]);
  assert.deepEqual([vote.kind, vote.at, vote.until], ["vote", 508, 511]);
});

test("a vote that never arrived, and one to a stranger", () => {
  const lost = arrows([
    event("c", 508, "vote_granted", { peer: "b", term: 2 }),
    event("b", 90_000, "vote_received", { peer: "c", term: 2 }),
  ]);
  assert.deepEqual([lost[0].received, lost[0].until], [null, 508]);
  assert.deepEqual(arrows([event("c", 1, "vote_granted", { peer: "z", term: 2 })]), []);
});

test("clocks that differ show in votes that arrive before they were given", () => {
  assert.equal(skew(arrows(election)), null);
  const early = [
    event("b", 300, "vote_received", { peer: "c", term: 3 }),
    event("c", 420, "vote_granted", { peer: "b", term: 3 }),
  ];
  assert.deepEqual(skew(arrows(early)), { behind: "b", ahead: "c", ms: 120 });
});

test("marks that are too close are one", () => {
  const events = [0, 4, 9, 30, 33].map((at) => event("a", at, "x"));
  assert.deepEqual(
    marks(events, (at) => at, 10).map((mark) => [mark.x, mark.events.length]),
    [
      [0, 3],
      [30, 2],
    ],
  );
});

test("the axis has round times", () => {
  const { step, times } = ticks(61_234, 60_000, 1000);
  assert.equal(step, 10_000);
  assert.deepEqual([times[0], times.at(-1)], [70_000, 120_000]);
});

test("zoom keeps the moment under the pointer, and following", () => {
  const held = zoomed({ end: 10_000, span: 8000, follows: false }, 0.5, 0.25);
  assert.deepEqual(held, { end: 7000, span: 4000, follows: false });
  assert.deepEqual(zoomed({ end: 0, span: 8000, follows: true }, 0.5, 0.25), { end: 0, span: 4000, follows: true });
  assert.equal(zoomed({ end: 0, span: 8000, follows: true }, 1e-9, 0).span, 2000);
});

test("going back stops following, coming to the present follows again", () => {
  const back = panned({ end: 0, span: 8000, follows: true }, -1000, 50_000);
  assert.deepEqual([back.end, back.follows], [49_000, false]);
  assert.equal(panned(back, 5000, 51_000).follows, true);
});
