import assert from "node:assert/strict";
import { test } from "node:test";

import { activeRids, cameraPlan, contentPlan } from "../protocol/layers.js";

test("a 720p camera sends three encodings, a quarter, a half and the whole", () => {
  const plan = cameraPlan(1280, 720);
  assert.deepEqual(plan.map((encoding) => encoding.rid), ["l", "m", "h"]);
  assert.deepEqual(plan.map((encoding) => encoding.scaleResolutionDownBy), [4, 2, 1]);
  assert.deepEqual(plan.map((encoding) => encoding.maxBitrate), [150_000, 500_000, 1_700_000]);
  assert.ok(plan.every((encoding) => encoding.isUsable));
});

test("a 360p camera sends two encodings and the second one is the whole picture", () => {
  const [low, middle, high] = cameraPlan(640, 360);
  assert.deepEqual([low.isUsable, middle.isUsable, high.isUsable], [true, true, false]);
  assert.deepEqual([low.scaleResolutionDownBy, middle.scaleResolutionDownBy], [2, 1]);
});

test("a 180p camera sends one encoding, unscaled", () => {
  const [low, middle, high] = cameraPlan(320, 180);
  assert.equal(low.scaleResolutionDownBy, 1);
  assert.deepEqual([low.isUsable, middle.isUsable, high.isUsable], [true, false, false]);
});

test("a phone held upright counts by its pixels", () => {
  assert.deepEqual(cameraPlan(720, 1280), cameraPlan(1280, 720));
});

test("scales never fall below one and rates grow with the encoding, at every size", () => {
  for (const [width, height] of [[160, 90], [320, 240], [640, 480], [800, 600], [1280, 720], [1920, 1080], [3840, 2160]]) {
    const usable = cameraPlan(width, height).filter((encoding) => encoding.isUsable);
    assert.ok(usable.length >= 1);
    assert.equal(usable.at(-1).scaleResolutionDownBy, 1);
    for (const [index, encoding] of usable.entries()) {
      assert.ok(encoding.scaleResolutionDownBy >= 1);
      if (index > 0) assert.ok(encoding.maxBitrate >= usable[index - 1].maxBitrate);
    }
  }
});

test("before the bridge has spoken everything usable is sent", () => {
  assert.deepEqual([...activeRids(cameraPlan(1280, 720), null)], ["l", "m", "h"]);
  assert.deepEqual([...activeRids(cameraPlan(640, 360), null)], ["l", "m"]);
});

test("an encoding nobody watches is off", () => {
  assert.deepEqual([...activeRids(cameraPlan(1280, 720), ["l"])], ["l"]);
  assert.equal(activeRids(cameraPlan(1280, 720), []).size, 0);
});

test("a wanted encoding that this camera does not give falls to the highest it gives", () => {
  assert.deepEqual([...activeRids(cameraPlan(640, 360), ["h"])], ["m"]);
  assert.deepEqual([...activeRids(cameraPlan(320, 180), ["m", "h"])], ["l"]);
  assert.deepEqual([...activeRids(contentPlan(300, 200), ["h"])], ["l"]);
});

test("a shared screen keeps its full size in the high encoding", () => {
  const [low, high] = contentPlan(1920, 1080);
  assert.equal(high.scaleResolutionDownBy, 1);
  assert.equal(low.scaleResolutionDownBy, 2);
  assert.ok(low.maxFramerate < high.maxFramerate);
});

test("a source switched on just now shows itself in its lowest encoding although nobody asked yet", () => {
  assert.deepEqual([...activeRids(contentPlan(1920, 1080), [], true)], ["l"]);
  assert.deepEqual([...activeRids(contentPlan(1920, 1080), ["h"], true)], ["h"]);
});

test("a large monitor is shared at a bit rate of its size, up to a limit", () => {
  const rates = (width, height) => contentPlan(width, height).map(({ maxBitrate }) => maxBitrate);
  assert.deepEqual(rates(1280, 720), [400_000, 2_500_000]);
  assert.deepEqual(rates(1920, 1080), [400_000, 2_500_000]);
  assert.deepEqual(rates(2560, 2048).map((rate) => rate > 2.5 * 400_000), [true, true]);
  assert.deepEqual(rates(3840, 2160), [1_280_000, 8_000_000]);
  assert.deepEqual(rates(7680, 4320), rates(3840, 2160));
});
