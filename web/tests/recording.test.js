import assert from "node:assert/strict";
import { test } from "node:test";

import { recordingAdvice, recordingText, shownState } from "../room/recording.js";
import { en } from "../room/texts.en.js";
import { vi } from "../room/texts.vi.js";

const STATES = ["off", "waiting", "recording", "paused", "stopped", "failed"];
const REASONS = ["nobody-here", "no-case", "no-consent", "consent-refused", "consent-withdrawn"];

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
