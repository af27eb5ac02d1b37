// How bodies and names of others are made visible. Run with `node --test tests/dashboard/models`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { bodyOf, cut, hexRows, prettyJson, runs } from "../../../src/dashboard/web/pages/body_model.js";

const shown = (text, plain) =>
  runs(text, plain)
    .map((run) => run.text)
    .join("");

test("hidden characters become visible", () => {
  assert.equal(shown("a\u0000b\nc\u001b[2J"), "a\\0b\\nc\\x1b[2J");
  assert.equal(shown("a\u202egnp.exe"), "a<U+202E>gnp.exe");
  assert.equal(shown("\u200bx\ufeff\u{e0041}"), "<U+200B>x<U+FEFF><U+E0041>");
  assert.equal(shown("\ud800x"), "<U+D800>x");
  assert.equal(shown("👩‍🚀 naïve ليل"), "👩‍🚀 naïve ليل");
  assert.equal(shown("a\n\tb\r\n", "\n\t"), "a\n\tb\\r\n");
});

test("a cut never halves a character", () => {
  assert.equal(cut("abc", 3), "abc");
  assert.equal(cut("ab👩", 3), "ab");
});

test("JSON is laid out letter by letter", () => {
  const text = '{"n":12345678901234567890,"a":[1,{"b":"x,\\"{"}],"e":{},"f":[],"n":1.0}';
  const lines = [
    "{",
    '  "n": 12345678901234567890,',
    '  "a": [',
    "    1,",
    "    {",
    '      "b": "x,\\"{"',
    "    }",
    "  ],",
  ];
  assert.equal(prettyJson(text), [...lines, '  "e": {},', '  "f": [],', '  "n": 1.0', "}"].join("\n"));
  assert.equal(prettyJson("[1,2"), null);
  assert.equal(prettyJson("one pizza"), null);
  assert.equal(prettyJson("12"), null, "a number alone is text");
});

test("bytes in rows of sixteen", () => {
  const { bytes } = bodyOf({ text: "hello, instrument", data: null });
  assert.equal(
    hexRows(bytes),
    "00000000  68 65 6c 6c 6f 2c 20 69  6e 73 74 72 75 6d 65 6e  hello, instrumen\n" +
      "00000010  74                                                t",
  );
  assert.equal(hexRows(bytes, 1).split("\n").length, 1);
  assert.deepEqual([...bodyOf({ text: null, data: "AP8=" }).bytes], [0, 255]);
  assert.equal(bodyOf({ text: null, data: null }), null);
  assert.equal(bodyOf({ text: null, data: "*" }), null);
});
