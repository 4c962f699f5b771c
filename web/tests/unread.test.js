import assert from "node:assert/strict";
import { test } from "node:test";

import { Unread } from "../room/unread.js";

const lines = (from, to) => Array.from({ length: to - from }, (_, index) => ({ at_ms: 1000 + from + index, text: "" }));

test("what was there when one came in has been read", () => {
  const unread = new Unread();
  unread.welcome(lines(0, 30));
  assert.equal(unread.count(lines(0, 30)), 0);
  assert.equal(unread.count(lines(0, 33)), 3);
});

test("after five hundred lines new ones are unread as before", () => {
  const unread = new Unread();
  unread.welcome([]);
  unread.read(lines(0, 500));
  assert.equal(unread.count(lines(2, 502)), 2);
});

test("what was missed during a break is unread afterwards", () => {
  const unread = new Unread();
  unread.welcome(lines(0, 200));
  unread.welcome(lines(110, 210));
  assert.equal(unread.count(lines(110, 210)), 10);
});

test("an empty room has nothing to read", () => {
  const unread = new Unread();
  unread.welcome([]);
  assert.equal(unread.count([]), 0);
  assert.equal(unread.count(lines(0, 1)), 1);
});
