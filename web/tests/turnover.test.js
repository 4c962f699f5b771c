import assert from "node:assert/strict";
import { test } from "node:test";

import { RoomState } from "../protocol/state.js";
import { Turnover } from "../protocol/turnover.js";

const A = { participant: "a", source: "camera" };
const B = { participant: "b", source: "camera" };

function shown(slots) {
  const state = new RoomState();
  state.apply({ type: "slots", slots });
  return state;
}

function hear(turnover, state, message, now) {
  state.apply(turnover.hear({ type: "slots", ...message }, state.slots, now));
}

function say(state, said) {
  for (const message of [said].flat()) if (message) state.apply(message);
}

test("a name waits for the first frame of its picture", () => {
  const state = shown({ 7: A });
  const turnover = new Turnover();
  hear(turnover, state, { slots: { 7: B }, begins: { 7: 5000 }, paused: {} }, 0);
  assert.deepEqual(state.slots.get("7"), A);
  assert.ok(turnover.isAwaited("7"));
  say(state, turnover.frame("7", { rtpTimestamp: 4999 }, 40));
  assert.deepEqual(state.slots.get("7"), A);
  say(state, turnover.frame("7", { rtpTimestamp: 5000 }, 80));
  assert.deepEqual(state.slots.get("7"), B);
  assert.ok(!turnover.isAwaited("7"));
});

test("RTP times go round", () => {
  const turnover = new Turnover();
  const state = shown({ 7: A });
  hear(turnover, state, { slots: { 7: B }, begins: { 7: 10 } }, 0);
  say(state, turnover.frame("7", { rtpTimestamp: 4_294_967_000 }, 10));
  assert.deepEqual(state.slots.get("7"), A);
  say(state, turnover.frame("7", { rtpTimestamp: 3010 }, 20));
  assert.deepEqual(state.slots.get("7"), B);
});

test("while the picture does not come nobody is named, and then the name stands alone", () => {
  const state = shown({ 7: A });
  const turnover = new Turnover();
  hear(turnover, state, { slots: { 7: B }, begins: { 7: 5000 }, paused: { 7: "keyframe" } }, 0);
  say(state, turnover.due(900));
  assert.deepEqual(state.slots.get("7"), A);
  assert.equal(state.pauses.get("7"), undefined);
  say(state, turnover.due(1000));
  assert.equal(state.slots.get("7"), null);
  assert.ok(turnover.isAwaited("7"));
  say(state, turnover.frame("7", { rtpTimestamp: 4000 }, 1500));
  assert.equal(state.slots.get("7"), null);
  say(state, turnover.due(3000));
  assert.deepEqual(state.slots.get("7"), B);
  assert.equal(state.pauses.get("7"), "keyframe");
});

test("what replaces nobody, or goes on, waits for nothing", () => {
  const state = shown({ 7: null, 8: A });
  const turnover = new Turnover();
  hear(turnover, state, { slots: { 7: B, 8: A, 9: B }, begins: { 7: 1, 8: 1, 9: 1 } }, 0);
  assert.deepEqual([...state.slots.values()], [B, A, B]);
  hear(turnover, state, { slots: { 8: null } }, 0);
  assert.equal(state.slots.get("8"), null);
});

test("another picture of the same site is another picture", () => {
  const state = shown({ 8: { participant: "a", source: "content" } });
  const turnover = new Turnover();
  hear(turnover, state, { slots: { 8: { participant: "a", source: "auxiliary" } }, begins: { 8: 1 } }, 0);
  assert.equal(state.slots.get("8").source, "content");
});

test("a name without any picture covers the one before first", () => {
  const state = shown({ 7: A });
  const turnover = new Turnover();
  hear(turnover, state, { slots: { 7: B }, paused: { 7: "line" } }, 0);
  assert.equal(state.slots.get("7"), null);
  say(state, turnover.due(250));
  assert.deepEqual(state.slots.get("7"), B);
  assert.equal(state.pauses.get("7"), "line");
});

test("the newest word counts, and a pause that comes meanwhile goes with the name", () => {
  const state = shown({ 7: A });
  const turnover = new Turnover();
  hear(turnover, state, { slots: { 7: B }, begins: { 7: 5000 } }, 0);
  hear(turnover, state, { slots: {}, paused: { 7: "no-signal" } }, 10);
  assert.equal(state.pauses.get("7"), undefined);
  hear(turnover, state, { slots: { 7: A }, begins: { 7: 9000 } }, 20);
  assert.ok(!turnover.isAwaited("7"));
  say(state, turnover.frame("7", { rtpTimestamp: 6000 }, 30));
  assert.deepEqual(state.slots.get("7"), A);
});

test("a browser that does not tell RTP times is believed by when a frame arrived", () => {
  const state = shown({ 7: A });
  const turnover = new Turnover();
  hear(turnover, state, { slots: { 7: B }, begins: { 7: 5000 } }, 1000);
  say(state, turnover.frame("7", { receiveTime: 1010 }, 1040));
  assert.deepEqual(state.slots.get("7"), A);
  say(state, turnover.frame("7", { receiveTime: 1030 }, 1080));
  assert.deepEqual(state.slots.get("7"), B);
});

test("another peer connection waits for nothing of the former one", () => {
  const state = shown({ 7: A });
  const turnover = new Turnover();
  hear(turnover, state, { slots: { 7: B }, begins: { 7: 5000 } }, 0);
  state.forgetSlots();
  turnover.forget();
  say(state, turnover.due(5000));
  assert.equal(state.slots.size, 0);
});

test("a name whose picture is on the screen already is said at once", () => {
  const state = shown({ 7: A });
  const turnover = new Turnover();
  turnover.frame("7", { rtpTimestamp: 4000 }, 0);
  turnover.frame("7", { rtpTimestamp: 8000 }, 40);
  hear(turnover, state, { slots: { 7: B }, begins: { 7: 5000 } }, 50);
  assert.deepEqual(state.slots.get("7"), B);
  // Of a frame of the former connection nothing follows.
  turnover.forget();
  hear(turnover, state, { slots: { 7: A }, begins: { 7: 6000 } }, 60);
  assert.deepEqual(state.slots.get("7"), B);
});
