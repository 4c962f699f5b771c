import assert from "node:assert/strict";
import { test } from "node:test";

import { Frames } from "../protocol/frames.js";

const camera = (changes = {}) => ({ id: "t-1", readyState: "live", muted: false, ...changes });
const counted = (frames, trackIdentifier = "t-1") => [["S", { type: "media-source", kind: "video", trackIdentifier, frames }]];

test("a live camera that gives no more pictures is noticed within seconds, and its return too", () => {
  const frames = new Frames();
  assert.equal(frames.isStalled(counted(10), camera(), 0), false);
  assert.equal(frames.isStalled(counted(60), camera(), 2000), false);
  assert.equal(frames.isStalled(counted(60), camera(), 4000), false);
  assert.equal(frames.isStalled(counted(60), camera(), 6000), true);
  assert.equal(frames.isStalled(counted(61), camera(), 8000), false);
});

test("a camera that never gave one is noticed as well, and another camera starts anew", () => {
  const frames = new Frames();
  assert.equal(frames.isStalled(counted(0), camera(), 0), false);
  assert.equal(frames.isStalled(counted(0), camera(), 4000), true);
  assert.equal(frames.isStalled(counted(0, "t-2"), camera({ id: "t-2" }), 4000), false);
});

test("a camera that is off, taken by the system, or not counted is not called broken", () => {
  const frames = new Frames();
  for (const track of [null, camera({ muted: true }), camera({ readyState: "ended" })]) {
    for (const now of [0, 9000]) assert.equal(frames.isStalled(counted(5), track, now), false);
  }
  for (const now of [0, 9000]) assert.equal(frames.isStalled([], camera(), now), false);
});
