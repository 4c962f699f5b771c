import assert from "node:assert/strict";
import { test } from "node:test";

import { Freshness } from "../protocol/freshness.js";
import { framesDecoded } from "../protocol/frames.js";

const LOOK_MS = 250;

/** Looks every quarter of a second until `endMs`; `at` may tell frames. */
function run(freshness, seen, endMs, { from = 0, frames = () => false, isConnected = true } = {}) {
  let stale = new Map();
  for (let now = from; now <= endMs; now += LOOK_MS) {
    for (const mid of seen.keys()) if (frames(mid, now)) freshness.frame(mid, now);
    stale = freshness.look(seen, isConnected, LOOK_MS, now);
  }
  return stale;
}

function seen(changes = {}) {
  return new Map([["7", { picture: "a/camera", moves: true, pause: null, ...changes }]]);
}

test("a camera without a frame for a second stands still, and no one that moves does", () => {
  const freshness = new Freshness();
  assert.equal(run(freshness, seen(), 5000, { frames: () => true }).size, 0);
  assert.equal(run(freshness, seen(), 5750, { from: 5250 }).size, 0);
  assert.deepEqual(run(freshness, seen(), 8000, { from: 6000 }).get("7"), { ageMs: 3000, reason: "unknown" });
  freshness.frame("7", 8100);
  assert.equal(freshness.look(seen(), true, LOOK_MS, 8250).size, 0);
});

test("the reason is the bridge's, but for the page's own line", () => {
  const freshness = new Freshness();
  const paused = seen({ pause: "line" });
  assert.equal(run(freshness, paused, 1000).get("7").reason, "line");
  assert.equal(freshness.look(paused, false, LOOK_MS, 1250).get("7").reason, "own");
});

test("a slide that does not change is no fault, until the bridge says that it is paused", () => {
  const freshness = new Freshness();
  const slide = seen({ moves: false });
  assert.equal(run(freshness, slide, 60_000).size, 0);
  const paused = seen({ moves: false, pause: "no-signal" });
  assert.equal(run(freshness, paused, 61_000, { from: 60_250 }).size, 0);
  assert.deepEqual(run(freshness, paused, 62_250, { from: 61_250 }).get("7"), { ageMs: 2000, reason: "no-signal" });
  assert.equal(freshness.look(slide, true, LOOK_MS, 62_500).size, 0);
});

test("another picture in the slot has its own second", () => {
  const freshness = new Freshness();
  run(freshness, seen(), 3000);
  const other = seen({ picture: "b/camera" });
  assert.equal(run(freshness, other, 4000, { from: 3250 }).size, 0);
  assert.equal(run(freshness, other, 4500, { from: 4250 }).size, 1);
});

test("what is no longer to be seen is not counted when it is back", () => {
  const freshness = new Freshness();
  run(freshness, seen(), 1000);
  assert.equal(run(freshness, new Map(), 9000, { from: 1250 }).size, 0);
  assert.equal(run(freshness, seen(), 10_000, { from: 9250 }).size, 0);
});

test("a page that was kept waiting, or hidden, raises no alarm for its own delay", () => {
  const freshness = new Freshness();
  run(freshness, seen(), 1000, { frames: () => true });
  // The timers come three seconds late, and the frames with them.
  assert.equal(freshness.look(seen(), true, LOOK_MS, 4250).size, 0);
  assert.equal(run(freshness, seen(), 5750, { from: 4500 }).size, 1);
  freshness.forget();
  assert.equal(freshness.look(seen(), true, LOOK_MS, 60_000).size, 0);
});

test("a browser that only counts frames, every two seconds, has as much longer", () => {
  const freshness = new Freshness(2000);
  assert.equal(run(freshness, seen(), 20_000, { frames: (_, now) => now % 2000 === 0 }).size, 0);
  assert.equal(run(freshness, seen(), 23_500, { from: 20_250 }).size, 1);
});

test("frames are counted by the slot they came through", () => {
  const stats = [
    ["1", { type: "inbound-rtp", kind: "video", mid: "7", framesDecoded: 12 }],
    ["2", { type: "inbound-rtp", kind: "audio", mid: "4" }],
    ["3", { type: "inbound-rtp", kind: "video", mid: "8" }],
  ];
  assert.deepEqual([...framesDecoded(stats)], [["7", 12]]);
});
