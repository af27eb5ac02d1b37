// What the strip says of the quorum, and how a node is shown. Run with `node --test tests/dashboard/models`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { shownRole } from "../../../src/dashboard/web/lib/marks.js";
import { ofAFollower } from "../../../src/dashboard/web/lib/readings.js";
import { levelOf, quorumWords } from "../../../src/dashboard/web/lib/strip.js";

const cluster = { cluster_id: "c1", voters: 3, voters_up: 3, needed: 2, tolerates: 1, leader: "a", alarms: [] };

test("the colour of the quorum is about the quorum", () => {
  const alarms = ["critical", "warning"].map((level) => ({ level, code: "dead_letters", text: "", node: null }));
  assert.equal(levelOf({ ...cluster, alarms }), "good");
  assert.equal(levelOf({ ...cluster, voters_up: 2, tolerates: 0 }), "warning");
  assert.equal(levelOf({ ...cluster, voters_up: 1, tolerates: -1 }), "critical");
  assert.equal(levelOf({ ...cluster, voters: 0, voters_up: 0, needed: 0, tolerates: 0 }), "warning");
});

test("a node that has nothing of the log of its cluster does not say that there is none", () => {
  const nothing = { ...cluster, voters: 0, voters_up: 0, needed: 0, tolerates: 0 };
  assert.equal(quorumWords(nothing), "nothing of the cluster's log is here yet");
  assert.equal(quorumWords({ ...nothing, cluster_id: "" }), "no cluster yet");
  const learner = { id: "d", reachable: true, role: "outsider", membership: "learner" };
  assert.equal(shownRole(learner), "learner");
  assert.equal(shownRole({ ...learner, membership: "none" }), "outsider");
  assert.equal(shownRole({ ...learner, reachable: false }), "lost");
});

test("a node that was removed does not count by the configuration that it had last", () => {
  const removed = { ...cluster, removed: true };
  for (const known of [removed, { ...removed, voters_up: 1, tolerates: -1, leader: null }]) {
    assert.equal(quorumWords(known), "not a member any more");
    assert.equal(levelOf(known), "warning");
  }
  assert.match(quorumWords({ ...cluster, removed: false }), /^3 of 3 voters/);
});

test("who is to say how far a node is behind", () => {
  assert.match(ofAFollower({ id: "b" }, { leader: null }), /no leader/);
  assert.match(ofAFollower({ id: "b" }, { leader: "b" }), /it leads/);
  assert.match(ofAFollower({ id: "b" }, { leader: "a" }), /the leader has not said so/);
});
