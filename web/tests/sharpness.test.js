import assert from "node:assert/strict";
import { test } from "node:test";

import { Best, isSentReduced, pictureOf } from "../protocol/sharpness.js";

/** @param {object[]} entries */
const report = (...entries) => entries.map((entry, index) => [String(index), { kind: "video", timestamp: 1000, ...entry }]);
const incoming = (frameHeight, changes = {}) =>
  report({ type: "inbound-rtp", mid: "5", frameWidth: frameHeight * 2, frameHeight, bytesReceived: 1000, ...changes });

test("of several encodings the largest that is sent counts, and the bytes of all", () => {
  const stats = (timestamp, bytes, active) =>
    report(
      { type: "outbound-rtp", mid: "3", rid: "l", frameWidth: 960, frameHeight: 540, bytesSent: bytes, timestamp },
      { type: "outbound-rtp", mid: "3", rid: "h", frameWidth: 1920, frameHeight: 1080, bytesSent: bytes, timestamp, active },
      { type: "outbound-rtp", mid: "2", frameWidth: 3840, frameHeight: 2160, bytesSent: 9e9, timestamp },
    );
  const first = pictureOf(stats(1000, 0, true), "outbound-rtp", "3", null);
  assert.deepEqual([first.heightPx, first.bps], [1080, null]);
  const second = pictureOf(stats(3000, 125_000, true), "outbound-rtp", "3", first);
  assert.equal(second.bps, 1_000_000);
  assert.equal(isSentReduced(second, 1080), false);
  const third = pictureOf(stats(5000, 125_000, false), "outbound-rtp", "3", second);
  assert.equal(third.heightPx, 540);
  assert.equal(isSentReduced(third, 1080), true);
});

test("a sender that the line or the processor holds back says so at full size too", () => {
  const [[, entry]] = report({ type: "outbound-rtp", mid: "3", frameWidth: 1920, frameHeight: 1080 });
  for (const [reason, isReduced] of [["none", false], ["bandwidth", true], ["cpu", true], ["other", false]]) {
    const sent = pictureOf([["a", { ...entry, qualityLimitationReason: reason }]], "outbound-rtp", "3", null);
    assert.equal(isSentReduced(sent, 1080), isReduced);
  }
  assert.equal(isSentReduced(null, 1080), false);
});

test("a share that comes smaller than it came before is reduced, where that can be seen", () => {
  const best = new Best();
  const at = (height) => pictureOf(incoming(height), "inbound-rtp", "5", null);
  for (const height of [540, 540, 540]) assert.equal(best.isReduced("p-1", at(height), 900), false);
  assert.equal(best.isReduced("p-1", at(1080), 900), false);
  assert.equal(best.isReduced("p-1", at(540), 900), true);
  assert.equal(best.isReduced("p-1", at(540), 400), false);
  assert.equal(best.isReduced("p-1", at(1080), 900), false);
  // Another share is another picture, whatever was measured of the one before.
  for (const height of [1080, 1080, 540, 540]) assert.equal(best.isReduced("p-2", at(height), 900), false);
  const same = at(1080);
  for (let drawing = 0; drawing < 5; drawing++) best.isReduced("p-3", same, 900);
  for (const height of [1080, 540, 540]) assert.equal(best.isReduced("p-3", at(height), 900), false);
  assert.equal(best.isReduced("p-2", null, 900), false);
});
