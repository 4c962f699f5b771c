import assert from "node:assert/strict";
import { test } from "node:test";

import { wishedHeight, wishOf } from "../protocol/wish.js";

test("who saves data asks for small pictures, and never for larger ones than fit", () => {
  assert.equal(wishedHeight("all", "large", 1080), 1080);
  assert.equal(wishedHeight("less", "large", 1080), 360);
  assert.equal(wishedHeight("less", "small", 400), 180);
  assert.equal(wishedHeight("less", "small", 90), 90);
});

test("who only listens asks for none", () => {
  assert.equal(wishedHeight("none", "large", 1080), 0);
  assert.equal(wishedHeight("none", "small", 90), 0);
});

test("what an older or a broken page has stored is no wish", () => {
  assert.deepEqual(["all", "less", "none", "", "x"].map(wishOf), ["all", "less", "none", "all", "all"]);
});
