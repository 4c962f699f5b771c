import assert from "node:assert/strict";
import { test } from "node:test";

import { adviceOf, words } from "../room/transport.js";

const GOOD = {
  isConnected: true,
  hasStarted: true,
  protocol: "udp",
  rttMs: 20,
  lossUp: 0,
  lossDown: 0,
  receivedBps: 1,
  sentBps: 1,
  availableBps: 1,
  isHeldBack: false,
  weakness: null,
};

test("a line that pictures are paused for is not called good, whatever loss and delay are", () => {
  assert.deepEqual(words(GOOD), { text: "transport.good", tone: "good" });
  assert.deepEqual(words({ ...GOOD, isHeldBack: true }), { text: "transport.heldBack", tone: "poor" });
  assert.deepEqual(words({ ...GOOD, isHeldBack: true, protocol: "tcp" }).tone, "poor");
});

test("what is weak is said, with one sentence on what to do", () => {
  for (const weakness of ["down", "up", "wifi", "processor"]) {
    assert.equal(words({ ...GOOD, weakness }).text, `transport.weak.${weakness}`);
    assert.notEqual(words({ ...GOOD, weakness }).tone, "good");
    assert.equal(adviceOf({ ...GOOD, weakness }), `transport.advice.${weakness}`);
  }
  assert.equal(adviceOf(GOOD), null);
  assert.equal(adviceOf({ ...GOOD, isHeldBack: true }), "transport.advice.down");
  assert.equal(adviceOf({ ...GOOD, isHeldBack: true, weakness: "wifi" }), "transport.advice.wifi");
});

test("a way round is told as such, and TCP by its name", () => {
  assert.equal(words({ ...GOOD, weakness: "relay" }).text, "transport.good");
  assert.equal(adviceOf({ ...GOOD, weakness: "relay" }), "transport.advice.relay");
  assert.deepEqual(words({ ...GOOD, protocol: "tcp", weakness: "relay" }), { text: "transport.tcp", tone: "fair" });
  assert.deepEqual(words({ ...GOOD, protocol: "tcp", weakness: "up" }), { text: "transport.tcp", tone: "poor" });
  assert.equal(adviceOf({ ...GOOD, protocol: "tcp", weakness: "relay" }), "transport.advice.tcp");
});

test("a lost connection is said before all else", () => {
  assert.equal(words({ ...GOOD, isConnected: false, isHeldBack: true }).text, "transport.restoring");
  assert.equal(words({ ...GOOD, isConnected: false, hasStarted: false }).text, "transport.connecting");
});
