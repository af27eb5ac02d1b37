// How bodies and names of others are made visible. Run with `node --test tests/dashboard/models`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { bodyOf, cut, hexRows, isJson, prettyJson, runs } from "../../../src/dashboard/web/pages/body_model.js";

const shown = (text, plain, signs) =>
  runs(text, plain, signs)
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
  assert.equal(prettyJson('[ [ ] , {"a" : [ ]}]'), '[\n  [],\n  {\n    "a": []\n  }\n]');
});

test("JSON is a list or an object", () => {
  assert.ok(isJson(' {"n":1}'));
  assert.ok(isJson("[]"));
  assert.ok(!isJson("[1,2"));
  assert.ok(!isJson("one pizza"));
  assert.ok(!isJson("12"), "a number alone is text");
});

test("what is laid out is as it was but for blanks, and bounded, however deep and wide", () => {
  const deep = (inner, depth) => `${"[".repeat(depth)}${inner}${"]".repeat(depth)}`;
  const list = (item, count) => `[${Array.from({ length: count }, () => item).join(",")}]`;
  const bodies = [
    deep("", 8191),
    deep("", 500_000),
    deep(list("1", 8000), 8000),
    list(deep("", 100), 5000),
    list(deep("1,2", 20), 10_000),
    `${'{"a":'.repeat(100_000)}{}${"}".repeat(100_000)}`,
    list('{"a":[],"b":{}}', 60_000),
    list('"\\"[{,"', 100_000),
    `["${"x".repeat(1_000_000)}"]`,
  ];
  const withoutBlanks = (text) => text.replaceAll(/\s/g, "");
  for (const body of bodies) {
    assert.ok(isJson(body));
    for (const max of [1000, 20_000, 1_000_000]) {
      const laidOut = prettyJson(body, max);
      assert.ok(laidOut.length <= max + body.length + 100, `${body.slice(0, 20)}: ${laidOut.length} characters`);
      assert.equal(withoutBlanks(laidOut), body);
    }
  }
});

test("not every hidden character of very many gets a sign of its own", () => {
  const body = "\u001ba".repeat(10_000);
  assert.equal(runs(body, "", 100).length, 200);
  assert.equal(shown(body, "", 100), "\\x1ba".repeat(10_000));
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
