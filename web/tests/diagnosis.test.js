import assert from "node:assert/strict";
import { test } from "node:test";

import { counts, Diagnosis, isOverloaded, limitedBy, since, weaknessOf } from "../protocol/diagnosis.js";
import { lineNumbers } from "../protocol/report.js";
import { RoomState } from "../protocol/state.js";

const WELL = {
  lossUp: 0,
  lossDown: 0,
  isHeldBack: false,
  isSendingHeldBack: false,
  isRelayed: false,
  isOverloaded: false,
  isWireless: false,
};

test("one word says what is weak, and whose side it is", () => {
  assert.equal(weaknessOf(WELL), null);
  assert.equal(weaknessOf({ ...WELL, lossDown: 0.1 }), "down");
  assert.equal(weaknessOf({ ...WELL, isHeldBack: true }), "down");
  assert.equal(weaknessOf({ ...WELL, lossUp: 0.1 }), "up");
  assert.equal(weaknessOf({ ...WELL, lossUp: 0.1, isWireless: true }), "wifi");
  assert.equal(weaknessOf({ ...WELL, isWireless: true }), null);
  assert.equal(weaknessOf({ ...WELL, isRelayed: true }), "relay");
  assert.equal(weaknessOf({ ...WELL, isRelayed: true, lossUp: 0.1 }), "up");
  assert.equal(weaknessOf({ ...WELL, isOverloaded: true, lossDown: 0.1 }), "processor");
  assert.equal(weaknessOf({ ...WELL, lossUp: null, lossDown: null }), null);
});

test("a word is said after two measurements, and taken back after four", () => {
  const diagnosis = new Diagnosis();
  const bad = { ...WELL, lossUp: 0.1 };
  assert.equal(diagnosis.take(bad), false);
  assert.equal(diagnosis.take(WELL), false);
  assert.equal(diagnosis.take(bad), false);
  assert.equal(diagnosis.take(bad), true);
  assert.equal(diagnosis.weakness, "up");
  for (let time = 0; time < 3; time++) assert.equal(diagnosis.take(WELL), false);
  assert.equal(diagnosis.weakness, "up");
  assert.equal(diagnosis.take(WELL), true);
  assert.equal(diagnosis.weakness, null);
});

test("that the bridge pauses pictures is said at once", () => {
  const diagnosis = new Diagnosis();
  assert.equal(diagnosis.take({ ...WELL, isHeldBack: true }), true);
  assert.equal(diagnosis.weakness, "down");
});

test("a browser that has only just begun to send has no weak line", () => {
  const diagnosis = new Diagnosis();
  const held = { ...WELL, isSendingHeldBack: true };
  for (let time = 0; time < 5; time++) diagnosis.take(held);
  assert.equal(diagnosis.weakness, null);
  diagnosis.take(held);
  assert.equal(diagnosis.weakness, "up");
});

test("what the browser counts is told since last time, and anew of a new connection", () => {
  const stats = (audio, video) => [
    ["a", { type: "inbound-rtp", kind: "audio", ...audio }],
    ["v", { type: "inbound-rtp", kind: "video", ...video }],
    ["o", { type: "outbound-rtp", kind: "video", framesDropped: 1000 }],
  ];
  const first = counts(
    stats(
      { totalSamplesReceived: 48_000, concealedSamples: 4800, silentConcealedSamples: 2400 },
      { freezeCount: 1, totalFreezesDuration: 0.5, framesDecoded: 30, framesDropped: 2 },
    ),
  );
  assert.deepEqual(first, { freezes: 1, frozenMs: 500, heardMs: 1000, concealedMs: 50, decoded: 30, dropped: 2 });
  const second = counts(
    stats(
      { totalSamplesReceived: 96_000, concealedSamples: 9600, silentConcealedSamples: 2400 },
      { freezeCount: 3, totalFreezesDuration: 2, framesDecoded: 60, framesDropped: 2 },
    ),
  );
  assert.deepEqual(since(second, first), { freezes: 2, frozenMs: 1500, heardMs: 1000, concealedMs: 100, decoded: 30, dropped: 0 });
  assert.deepEqual(since(first, second), first);
  assert.deepEqual(since(first, null), first);
  assert.deepEqual(counts([]), { freezes: 0, frozenMs: 0, heardMs: 0, concealedMs: 0, decoded: 0, dropped: 0 });
});

test("a processor is too slow when the browser says so, or shows few of the pictures that come", () => {
  const sent = (changes) => [["o", { type: "outbound-rtp", framesPerSecond: 10, qualityLimitationReason: "cpu", ...changes }]];
  const none = counts([]);
  assert.ok(isOverloaded(sent(), none));
  assert.ok(!isOverloaded(sent({ qualityLimitationReason: "bandwidth" }), none));
  assert.ok(limitedBy(sent({ qualityLimitationReason: "bandwidth" }), "bandwidth"));
  // A layer that nobody watches is limited by nothing but that.
  assert.ok(!isOverloaded(sent({ active: false }), none));
  assert.ok(!isOverloaded(sent({ framesPerSecond: undefined }), none));
  assert.ok(isOverloaded([], { ...none, decoded: 30, dropped: 15 }));
  assert.ok(!isOverloaded([], { ...none, decoded: 30, dropped: 3 }));
  assert.ok(!isOverloaded([], { ...none, decoded: 2, dropped: 2 }));
});

test("what was lost on the line of whoever sent it is no loss of this line", () => {
  const report = { protocol: "udp", rttMs: 20, lossDown: 0.1, lossUp: 0.2, receivedBps: 1, sentBps: 1 };
  const quality = { rtt_ms: 50, loss_up: 0.01, loss_down: 0, protocol: "udp", available_bps: 9 };
  assert.deepEqual([lineNumbers(report, quality).lossDown, lineNumbers(report, quality).lossUp], [0, 0.01]);
  assert.deepEqual([lineNumbers(report, null).lossDown, lineNumbers(report, null).lossUp], [0.1, 0.2]);
  assert.equal(lineNumbers(report, quality).rttMs, 20);
  assert.equal(lineNumbers(null, null).lossDown, null);
});

test("moderators see who needs somebody most", () => {
  const state = new RoomState();
  const one = (participant, changes = {}) => ({ participant, connected: true, signal: true, ...changes });
  state.apply({ type: "conditions", weak: { b: "up", c: "relay" } });
  const needs = (...members) => members.map((member) => state.need(member));
  assert.deepEqual(needs(one("a"), one("b"), one("c"), one("b", { signal: false }), one("d", { connected: false })), [3, 1, 2, 0, 0]);
  state.apply({ type: "conditions", weak: { b: null } });
  assert.equal(state.need(one("b")), 3);
  state.apply({ type: "roster", left: ["c"], count: 1 });
  assert.equal(state.weak.size, 0);
});
