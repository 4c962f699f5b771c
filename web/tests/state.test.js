import assert from "node:assert/strict";
import { test } from "node:test";

import { RoomState } from "../protocol/state.js";

function member(participant, changes = {}) {
  return {
    participant,
    site: `Site ${participant}`,
    name: `Name ${participant}`,
    role: "presenter",
    level: "district",
    microphone: "muted",
    camera: "on",
    content: false,
    auxiliary: false,
    hand: null,
    connected: true,
    ...changes,
  };
}

function recording(changes = {}) {
  return { state: "waiting", reason: "no-case", case: null, code: null, problem: null, since_ms: 0, ...changes };
}

function welcome(roster, changes = {}) {
  return {
    type: "welcome",
    version: 1,
    participant: "a",
    resume: { secret: "s", seconds: 30 },
    role: "chair",
    room: { id: "r", title: "Hội chẩn", locked: false, stage: { participant: null, mode: "speaker" }, content: null, recording: recording() },
    roster,
    count: roster.length,
    chat: [],
    thumbnails_max: 49,
    resumed: false,
    may_publish: true,
    ...changes,
  };
}

function room(...roster) {
  const state = new RoomState();
  state.apply(welcome(roster));
  return state;
}

test("the roster follows who joins, changes and leaves", () => {
  const state = room(member("a"));
  state.apply({ type: "roster", joined: [member("b"), member("c")], changed: [], left: [], count: 3 });
  state.apply({ type: "roster", joined: [], changed: [member("b", { camera: "off" })], left: ["c"], count: 2 });
  assert.deepEqual([...state.roster.keys()], ["a", "b"]);
  assert.equal(state.member("b").camera, "off");
  assert.equal(state.count, 2);
});

test("slots not named in a message stay as they were", () => {
  const state = room(member("a"), member("b"), member("c"));
  state.apply({ type: "slots", slots: { 7: { participant: "b", source: "camera" }, 9: { participant: "c", source: "camera" } } });
  state.apply({ type: "slots", slots: { 9: null } });
  assert.equal(state.slots.get("7").participant, "b");
  assert.equal(state.slots.get("9"), null);
});

test("a resumed session keeps its slots, a new one starts without", () => {
  const state = room(member("a"), member("b"));
  state.apply({ type: "slots", slots: { 7: { participant: "b", source: "camera" } } });
  state.apply(welcome([member("a"), member("b")], { resumed: true }));
  assert.equal(state.slots.size, 1);
  state.apply(welcome([member("a"), member("b")], { resumed: false }));
  assert.equal(state.slots.size, 0);
});

test("oneself is not among the others, and not among the cameras", () => {
  const state = room(member("a"), member("b"), member("c", { camera: "off" }));
  assert.deepEqual(state.others.map(({ participant }) => participant), ["b", "c"]);
  assert.deepEqual(state.cameras.map(({ participant }) => participant), ["b"]);
});

test("hands queue in the order the bridge gives, whatever the order of joining", () => {
  const state = room(member("a"), member("b", { hand: 12 }), member("c", { hand: 4 }));
  assert.deepEqual(state.hands.map(({ participant }) => participant), ["c", "b"]);
  assert.equal(state.handOrder(state.member("b")), 2);
  assert.equal(state.handOrder(state.member("a")), null);
});

test("a page shows what the slots show, then the sites without a picture", () => {
  const state = room(member("a"), member("b"), member("c", { camera: "off" }), member("d"));
  state.apply({ type: "slots", slots: { 9: { participant: "d", source: "camera" }, 10: { participant: "b", source: "camera" } } });
  const { pictures, plain } = state.page(["9", "10", "11"], 0, 5);
  assert.deepEqual(pictures.map(({ mid, member: { participant } }) => [mid, participant]), [["9", "d"], ["10", "b"]]);
  assert.deepEqual(plain.map(({ participant }) => participant), ["c"]);
});

test("a camera whose slot has not come yet is announced without its picture", () => {
  const state = room(member("a"), member("b"), member("c"));
  const { pictures, plain } = state.page(["9", "10"], 0, 5);
  assert.equal(pictures.length, 0);
  assert.deepEqual(plain.map(({ participant }) => participant), ["b", "c"]);
});

test("pages together show every site exactly once", () => {
  const others = Array.from({ length: 11 }, (_, index) => member(`p${index}`, { camera: index % 3 ? "on" : "off" }));
  const state = room(member("a"), ...others);
  const seen = [];
  for (let first = 0; first < 11; first += 4) {
    const cameras = state.cameras.slice(first, first + 4);
    state.apply({
      type: "slots",
      slots: Object.fromEntries(
        ["9", "10", "11", "12"].map((mid, index) => [
          mid,
          cameras[index] ? { participant: cameras[index].participant, source: "camera" } : null,
        ]),
      ),
    });
    const { pictures, plain } = state.page(["9", "10", "11", "12"], first, 4);
    seen.push(...pictures.map(({ member: { participant } }) => participant), ...plain.map(({ participant }) => participant));
  }
  assert.deepEqual([...seen].sort(), others.map(({ participant }) => participant).sort());
});

test("content is known by participant and source, and ends", () => {
  const state = room(member("a"), member("b"));
  state.apply({ type: "content", participant: "b", source: "auxiliary" });
  assert.deepEqual(state.content, { participant: "b", source: "auxiliary" });
  state.apply({ type: "content", participant: null });
  assert.equal(state.content, null);
});

test("the chat keeps a bounded number of lines", () => {
  const state = room(member("a"));
  for (let index = 0; index < 700; index++) {
    state.apply({ type: "chat", participant: "b", name: "n", site: "s", text: String(index), at_ms: index });
  }
  assert.equal(state.chat.length, 500);
  assert.equal(state.chat.at(-1).text, "699");
});

test("only chair and secretary moderate", () => {
  const state = room(member("a"));
  assert.equal(state.mayModerate, true);
  state.apply(welcome([member("a")], { role: "expert" }));
  assert.equal(state.mayModerate, false);
});

test("losing the floor takes the right to publish", () => {
  const state = room(member("a"));
  state.apply({ type: "floor", granted: false });
  assert.equal(state.mayPublish, false);
});

test("a message of a later version is ignored", () => {
  const state = room(member("a"));
  state.apply({ type: "from-the-future", anything: 1 });
  assert.equal(state.roster.size, 1);
});

test("who comes late knows from the welcome that the room is recorded", () => {
  const state = new RoomState();
  const running = recording({ state: "recording", reason: null, case: "C02", code: "BN-2" });
  const message = welcome([member("a")]);
  state.apply({ ...message, room: { ...message.room, recording: running } });
  assert.equal(state.recording.state, "recording");
  state.apply({ type: "recording", ...recording({ state: "paused", reason: null, case: "C02" }) });
  assert.equal(state.recording.state, "paused");
});

test("the list of cases is whole in each message, and one of them is open at most", () => {
  const state = room(member("a"));
  assert.equal(state.active, undefined);
  const line = (number, now) => ({ case: number, code: number, site: null, state: now, consent: "unknown" });
  state.apply({ type: "cases", cases: [line("C01", "finished"), line("C02", "active"), line("C03", "planned")] });
  assert.equal(state.active.case, "C02");
  state.apply({ type: "cases", cases: [line("C01", "finished")] });
  assert.equal(state.active, undefined);
  assert.equal(state.cases.length, 1);
});

test("who is welcomed without cases forgets those of an earlier role", () => {
  const state = new RoomState();
  state.apply(welcome([member("a")], { cases: [{ case: "C01", code: "BN-1", site: null, state: "planned", consent: "unknown" }] }));
  state.apply(welcome([member("a")], { role: "observer" }));
  assert.deepEqual(state.cases, []);
});

test("a page counts cameras in the bridge's order: the chair who joined last is on the first page, not on the second", () => {
  const state = new RoomState();
  const roster = [member("a"), ...Array.from({ length: 9 }, (_, index) => member(`p${index}`)), member("chair", { role: "chair" })];
  state.apply(welcome(roster));
  const shown = ["chair", "p0", "p1", "p2"];
  const slots = Object.fromEntries(shown.map((participant, index) => [String(index), { participant, source: "camera" }]));
  state.apply({ type: "slots", slots });
  const mids = ["0", "1", "2", "3"];
  assert.deepEqual(state.page(mids, 0, 4).pictures.map((one) => one.member.participant), shown);
  state.apply({ type: "slots", slots: { 0: null, 1: null, 2: null, 3: null } });
  assert.deepEqual(state.page(mids, 4, 4).plain.map(({ participant }) => participant), ["p3", "p4", "p5", "p6"]);
});

test("a picture that this browser does not decode is known until the slot shows another one", () => {
  const state = room(member("a"), member("b"), member("c"));
  const shown = { participant: "b", source: "camera" };
  state.apply({ type: "slots", slots: { 7: shown, 9: { participant: "c", source: "camera" } }, unsupported: ["7"] });
  assert.deepEqual([state.isUndecodable("b"), state.isUndecodable("c")], [true, false]);
  state.apply({ type: "slots", slots: { 9: null } });
  assert.ok(state.unsupported.has("7"));
  state.apply({ type: "slots", slots: { 7: { participant: "c", source: "camera" } }, unsupported: null });
  assert.equal(state.unsupported.size, 0);
  state.apply({ type: "slots", slots: { 7: shown }, unsupported: ["7"] });
  state.apply(welcome([member("a"), member("b")]));
  assert.equal(state.isUndecodable("b"), false);
});

test("a pause belongs to the picture that it was said of", () => {
  const state = room(member("a"), member("b"));
  state.apply({ type: "slots", slots: { 7: { participant: "b", source: "camera" } }, paused: { 7: "line" } });
  assert.equal(state.pauses.get("7"), "line");
  assert.ok(state.isHeldBack);
  state.apply({ type: "slots", slots: {}, paused: { 7: "keyframe" } });
  assert.equal(state.pauses.get("7"), "keyframe");
  assert.ok(!state.isHeldBack);
  state.apply({ type: "slots", slots: { 7: { participant: "a", source: "camera" } } });
  assert.equal(state.pauses.size, 0);
  state.apply({ type: "slots", slots: {}, paused: { 7: "line" } });
  state.apply({ type: "slots", slots: {}, paused: { 7: null } });
  assert.equal(state.pauses.size, 0);
});

test("whoever has no signal is not heard, whatever was said of its microphone", () => {
  const state = room(member("a"));
  assert.ok(state.mayBeHeard(member("b", { microphone: "on", signal: true })));
  assert.ok(state.mayBeHeard(member("b", { microphone: "on" })));
  assert.ok(!state.mayBeHeard(member("b", { microphone: "on", signal: false })));
  assert.ok(!state.mayBeHeard(member("b", { microphone: "on", connected: false })));
  assert.ok(!state.mayBeHeard(member("b", { microphone: "muted", signal: true })));
  assert.ok(!state.mayBeHeard(undefined));
});

test("who comes in while somebody talks hears who it is", () => {
  const state = new RoomState();
  state.apply(welcome([member("a"), member("b")]));
  state.apply({ type: "speakers", voices: ["b"], dominant: "b" });
  assert.deepEqual([state.voices, state.dominant], [["b"], "b"]);
});
