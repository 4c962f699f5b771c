import assert from "node:assert/strict";
import { test } from "node:test";

import { doubtOf, recordingAdvice, recordingText, shownState } from "../room/recording.js";
import { en } from "../room/texts.en.js";
import { vi } from "../room/texts.vi.js";

const STATES = ["off", "waiting", "recording", "paused", "stopped", "failed"];
const REASONS = ["nobody-here", "no-case", "no-consent", "consent-refused", "consent-withdrawn"];
const DOUBTS = ["case-left", "case-resumed"];

function recording(changes = {}) {
  return { state: "recording", reason: null, case: null, code: null, problem: null, since_ms: 0, ...changes };
}

function keyOf(text) {
  return Array.isArray(text) ? text[0] : text;
}

test("every state and reason has words for everybody and advice for moderators", () => {
  const all = [
    ...STATES.map((state) => recording({ state })),
    ...REASONS.map((reason) => recording({ state: "waiting", reason })),
    ...DOUBTS.map((reason) => recording({ state: "paused", reason, case: "C01" })),
    recording({ case: "C01" }),
    recording({ problem: "disk-full" }),
  ];
  for (const one of all) {
    for (const key of [keyOf(recordingText(one)), recordingAdvice(one)]) {
      assert.ok(vi[key], key);
      assert.ok(en[key], key);
    }
  }
});

test("the case that is recorded is named", () => {
  assert.deepEqual(recordingText(recording({ case: "C02" })), ["recording.recording.case", { case: "C02" }]);
  assert.equal(recordingText(recording()), "recording.recording");
});

test("a case that is to be confirmed is told apart from a pause that a moderator wants", () => {
  for (const reason of DOUBTS) {
    const doubted = recording({ state: "paused", reason, case: "C01" });
    assert.equal(doubtOf(doubted), reason);
    assert.deepEqual(recordingText(doubted), [`recording.paused.${reason}`, { case: "C01" }]);
    assert.equal(recordingAdvice(doubted), `recording.advice.${reason}`);
  }
  assert.equal(doubtOf(recording({ state: "paused" })), null);
  assert.equal(recordingText(recording({ state: "paused" })), "recording.paused");
});

test("a full disk is not shown as a running recording", () => {
  const full = recording({ case: "C02", problem: "disk-full" });
  assert.equal(shownState(full), "full");
  assert.equal(recordingText(full), "recording.full");
  assert.equal(recordingAdvice(full), "recording.advice.full");
});

test("milder problems and pauses are shown as what they are", () => {
  assert.equal(shownState(recording({ problem: "disk-low" })), "recording");
  assert.equal(shownState(recording({ state: "paused", problem: "disk-full" })), "paused");
});
