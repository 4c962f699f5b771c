import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { verdict } from "../protocol/verdict.js";

const PAGE = readFileSync(new URL("../../docs/protocol.md", import.meta.url), "utf8");

/** The rows of the table of a section, as lists of cells. */
function table(title) {
  const section = PAGE.split(`\n## ${title}\n`)[1].split("\n## ")[0];
  return section
    .split("\n")
    .filter((line) => /^\| (`|\d)/.test(line))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

/** What a client should do after a close code, in the words of the protocol. */
const DO = [
  [/^(?:resume|join again)/, "retry"],
  [/^(?:show|do nothing|not come back)/, "end"],
];

test("each close code is followed as the protocol says", () => {
  const rows = table("Close codes");
  assert.ok(rows.length >= 9);
  for (const [code, , todo] of rows) {
    const expected = DO.find(([words]) => words.test(todo));
    assert.ok(expected, `nothing is known of “${todo}”`);
    assert.equal(verdict(Number(code), 0), expected[1], code);
  }
  for (const code of [1000, 1006, 1011, 1015]) assert.equal(verdict(code, 0), "retry");
});

test("each error in answer to a join is followed as the protocol says", () => {
  const rows = table("Error codes");
  assert.ok(rows.length >= 20);
  for (const [quoted, when] of rows) {
    const code = quoted.replaceAll("`", "");
    const isOfTheToken = code.endsWith("-token");
    const isPassing = /[Tt]ry again (?:later|after)/.test(when);
    assert.equal(verdict(code, 0), isPassing ? "retry" : "end", code);
    assert.equal(verdict(code, 600_000), isPassing ? "retry" : isOfTheToken ? "refresh" : "end", code);
  }
  assert.equal(verdict("of-a-newer-bridge", 0), "end");
});
