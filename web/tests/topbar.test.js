import assert from "node:assert/strict";
import { test } from "node:test";

import { countText, siteCount } from "../room/topbar.js";

const roster = (sites) => new Map(sites.map((site, index) => [`p-${index}`, { site }]));

test("two people of one site are one site", () => {
  assert.equal(siteCount({ roster: roster(["A", "A", "B"]), count: 3 }), 2);
});

test("a large room counts those that are not listed", () => {
  assert.equal(siteCount({ roster: roster(["A", "B"]), count: 1000 }), 1000);
});

test("one site is not several", () => {
  assert.deepEqual([countText(1), countText(2)], ["room.count.one", ["room.count", { count: 2 }]]);
});
