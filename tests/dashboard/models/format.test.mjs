// Numbers and times as text. Run with `node --test tests/dashboard/models`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { exactDuration, milliseconds } from "../../../src/dashboard/web/lib/format.js";

test("what is set to last is told to the millisecond", () => {
  assert.equal(exactDuration(1), "0.001 s");
  assert.equal(exactDuration(30_000), "30 s");
  assert.equal(exactDuration(90_500), "1 min 30.5 s");
  assert.equal(exactDuration(3_600_000), "1 h");
  assert.equal(exactDuration(3_601_000), "1 h 1 s");
  assert.equal(exactDuration(3_659_000), "1 h 59 s");
  assert.equal(exactDuration(43_200_000), "12 h");
  assert.equal(exactDuration(0), "0 s");
  assert.equal(exactDuration(null), null);
});

test("what takes next to no time does not take none", () => {
  assert.deepEqual([0, 0.0042, 0.0125, 0.05, 0.42, 1.2, 18.3, 1200].map(milliseconds), [
    "0 ms",
    "0.0042 ms",
    "0.0125 ms",
    "0.05 ms",
    "0.42 ms",
    "1.20 ms",
    "18.3 ms",
    "1.20 s",
  ]);
});
