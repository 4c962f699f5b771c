import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { browserFamily, problemText } from "../devices/explain.js";
import { listDevices, openCamera, problemOf } from "../devices/media.js";
import { setSpeaker } from "../devices/sound.js";
import { Sources } from "../devices/sources.js";
import { PushToTalk, UnheardHint } from "../room/talking.js";
import { plugIn, settled } from "./devices_stub.js";

const NONE = { microphone: "", camera: "", auxiliary: "" };

/** A page with devices, a connection that remembers what is sent, and what the bridge is told. */
function setUp(preferred = {}) {
  const devices = plugIn();
  const sources = new Sources({ ...NONE, ...preferred });
  const told = new Map();
  const sent = new Map();
  const ended = [];
  sources.observer = {
    changed: () => undefined,
    muteChanged: (source, isMuted) => told.set(source, isMuted ? "muted" : sources.isInterrupted(source) ? "interrupted" : "on"),
    ended: (source) => ended.push(source),
    interrupted: (source) => told.set(source, sources.isInterrupted(source) ? "interrupted" : "on"),
  };
  sources.attach({ setTrack: async (source, track) => void sent.set(source, track) });
  return { devices, sources, told, sent, ended };
}

async function problem(attempt) {
  try {
    await attempt;
    return null;
  } catch (error) {
    return problemOf(error);
  }
}

test("what is switched on is sent, told and shown alike", async () => {
  const { sources, told, sent } = setUp();
  await sources.start("microphone");
  assert.equal(sources.isOn("microphone"), true);
  assert.equal(sent.get("microphone"), sources.track("microphone"));
  assert.equal(told.get("microphone"), "on");
  sources.stop("microphone");
  assert.equal(sent.get("microphone"), null);
  assert.equal(told.get("microphone"), "muted");
});

test("a meter that cannot be made takes nothing away", async () => {
  const warn = mock.method(console, "warn", () => undefined);
  for (const failing of [1, 99]) {
    let left = failing;
    globalThis.AudioContext = class {
      state = "running";
      sampleRate = 48_000;
      createMediaStreamSource() {
        if (left-- > 0) throw new DOMException("another rate", "NotSupportedError");
        return { context: this, connect: () => undefined, disconnect: () => undefined };
      }
      createAnalyser = () => ({ fftSize: 0, getFloatTimeDomainData: () => undefined });
      close = async () => undefined;
    };
    const { sources, told, sent, devices } = setUp();
    assert.equal((await sources.startBoth()).size, 0);
    assert.deepEqual([sources.isOn("microphone"), told.get("microphone"), sent.get("microphone")?.kind], [true, "on", "audio"]);
    assert.equal(sources.level(), 0);
    await sources.choose("microphone", "mic-2");
    assert.equal(sent.get("microphone").deviceId, "mic-2");
    assert.equal(sources.isOn("microphone"), true);
    assert.equal(devices.live.length, 2);
    sources.close();
  }
  delete globalThis.AudioContext;
  warn.mock.restore();
});

for (const source of ["microphone", "camera"]) {
  test(`${source}: switched off while the device opens, it does not go live`, async () => {
    const { devices, sources, told, sent } = setUp();
    devices.isHeldBack = true;
    const started = sources.start(source);
    await settled();
    sources.stop(source);
    await devices.release();
    await started;
    assert.equal(sources.isOn(source), false);
    assert.notEqual(told.get(source), "on");
    assert.equal(sent.get(source) ?? null, null);
    // The microphone may stay open to notice talking while muted; a camera's light may not.
    if (source === "camera") assert.deepEqual(devices.live, []);
  });
}

test("a device that opens after the right to be seen was taken is closed", async () => {
  const { devices, sources } = setUp();
  devices.isHeldBack = true;
  const started = sources.startBoth();
  await settled();
  sources.release("microphone");
  sources.release("camera");
  await devices.release();
  await started;
  assert.deepEqual(devices.live, []);
});

test("a device that opens after the page was left is closed", async () => {
  const { devices, sources } = setUp();
  devices.isHeldBack = true;
  void sources.startBoth();
  void sources.start("auxiliary").catch(() => undefined);
  await settled();
  sources.close();
  for (let round = 0; round < 4; round++) await devices.release();
  assert.deepEqual(devices.live, []);
});

test("switched off and on again while the device opens, it is on", async () => {
  const { devices, sources, told } = setUp();
  devices.isHeldBack = true;
  const first = sources.start("camera");
  await settled();
  sources.stop("camera");
  const second = sources.start("camera");
  for (let round = 0; round < 3; round++) await devices.release();
  await Promise.all([first, second]);
  assert.equal(sources.isOn("camera"), true);
  assert.equal(told.get("camera"), "on");
  assert.equal(devices.live.length, 1);
});

test("the remembered device is unplugged: another is taken, and the remembered one may be chosen later", async () => {
  const { devices, sources, sent } = setUp({ microphone: "headset" });
  await sources.startBoth();
  assert.equal(sent.get("microphone").deviceId, "mic-1");
  devices.audio.push("headset");
  const opened = devices.requests.length;
  sources.stop("microphone");
  await sources.start("microphone");
  assert.equal(devices.requests.length, opened, "muting and unmuting opens nothing");
  await sources.choose("microphone", "headset");
  assert.equal(sent.get("microphone").deviceId, "headset");
  assert.equal(devices.live.filter(({ kind }) => kind === "audio").length, 1);
});

test("a change that fails leaves what was used, and may be tried again", async () => {
  const { devices, sources, sent, told } = setUp();
  await sources.start("microphone");
  devices.failures = ["NotFoundError"];
  assert.equal(await problem(sources.choose("microphone", "mic-2")), "missing");
  assert.equal(sent.get("microphone").deviceId, "mic-1");
  assert.equal(sent.get("microphone").readyState, "live");
  assert.equal(told.get("microphone"), "on");
  await sources.choose("microphone", "mic-2");
  assert.equal(sent.get("microphone").deviceId, "mic-2");
});

test("the device that is used already is not opened again when it is chosen", async () => {
  const { devices, sources } = setUp();
  await sources.start("microphone");
  await sources.choose("microphone", "mic-1");
  await sources.start("microphone");
  assert.equal(devices.requests.length, 1);
});

test("unplugged, a device is off, told so, and not taken for open later", async () => {
  const { devices, sources, told, ended } = setUp();
  await sources.startBoth();
  sources.track("microphone").unplug();
  assert.deepEqual(ended, ["microphone"]);
  assert.equal(told.get("microphone"), "muted");
  assert.equal(sources.isWished("microphone"), false);
  await sources.start("microphone");
  assert.equal(devices.live.filter(({ kind }) => kind === "audio").length, 1);
});

test("microphone and camera are asked for by one request", async () => {
  const { devices, sources } = setUp();
  const failed = await sources.startBoth();
  assert.equal(failed.size, 0);
  assert.equal(devices.requests.length, 1);
  assert.deepEqual([sources.isOn("microphone"), sources.isOn("camera")], [true, true]);
});

test("without a camera the microphone is opened alone, and the reason of the other is told", async () => {
  const { devices, sources } = setUp();
  devices.video = [];
  const failed = await sources.startBoth();
  assert.deepEqual([...failed.keys()], ["camera"]);
  assert.equal(sources.isOn("microphone"), true);
  assert.equal(sources.isOn("camera"), false);
});

test("a phone on which the second camera ends the first without a word: the first is told to be off", async () => {
  const { devices, sources, told, ended } = setUp();
  await sources.startBoth();
  const first = sources.track("camera");
  devices.opened = () => first.stop();
  await sources.start("auxiliary");
  assert.equal(sources.isOn("auxiliary"), true);
  assert.deepEqual(ended, ["camera"]);
  assert.equal(told.get("camera"), "muted");
});

test("the second camera is another one where there is another", async () => {
  const { devices, sources, sent } = setUp();
  await sources.start("camera");
  await sources.start("auxiliary");
  assert.equal(sent.get("auxiliary").deviceId, "cam-2");
  sources.stop("auxiliary");
  devices.video = ["cam-1"];
  await sources.start("auxiliary");
  assert.equal(sent.get("auxiliary").deviceId, "cam-1");
});

test("interrupted by the system and given back: told both times, and not as muted by its owner", async () => {
  const { sources, told } = setUp();
  await sources.start("microphone");
  sources.track("microphone").mute(true);
  assert.equal(told.get("microphone"), "interrupted");
  assert.equal(sources.isInterrupted("microphone"), true);
  sources.track("microphone").mute(false);
  assert.equal(told.get("microphone"), "on");
});

test("muted by the system from the start counts as interrupted", async () => {
  const { devices, sources, told } = setUp();
  devices.opened = ([track]) => (track.muted = true);
  await sources.start("microphone");
  assert.equal(told.get("microphone"), "interrupted");
});

test("still interrupted when the page is looked at again: opened anew, once", async () => {
  const { devices, sources, told } = setUp();
  await sources.start("microphone");
  const taken = sources.track("microphone");
  taken.mute(true);
  devices.opened = ([track]) => (track.muted = true);
  sources.revive();
  await settled();
  assert.equal(devices.requests.length, 2);
  assert.equal(taken.readyState, "ended");
  assert.equal(told.get("microphone"), "interrupted");
  sources.revive();
  await settled();
  assert.equal(devices.requests.length, 2, "not again and again");
  sources.track("microphone").mute(false);
  assert.equal(told.get("microphone"), "on");
});

test("a shared screen that stands still is not interrupted", async () => {
  const { devices, sources, told } = setUp();
  devices.getDisplayMedia = () => devices.getUserMedia({ video: true });
  await sources.start("content");
  sources.track("content").mute(true);
  assert.equal(told.get("content"), "on");
});

test("busy, a device is asked for again after a second", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const devices = plugIn();
    devices.failures = ["NotReadableError"];
    const opened = openCamera("cam-2");
    await settled();
    assert.equal(devices.requests.length, 1);
    mock.timers.tick(1000);
    assert.equal((await opened).deviceId, "cam-2");
  } finally {
    mock.timers.reset();
  }
});

test("busy twice, the cause is named", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const devices = plugIn();
    devices.failures = ["NotReadableError", "AbortError"];
    const failed = problem(openCamera(""));
    await settled();
    mock.timers.tick(1000);
    assert.equal(await failed, "busy");
    assert.equal(devices.requests.length, 2);
  } finally {
    mock.timers.reset();
  }
});

test("a camera of one odd size is opened as it is", async () => {
  const devices = plugIn();
  devices.failures = ["OverconstrainedError"];
  assert.equal((await openCamera("cam-2", { isExact: true })).deviceId, "cam-2");
  assert.deepEqual(devices.requests[1], { video: { deviceId: { exact: "cam-2" } } });
});

test("devices that have no name before a permission are told to be there", async () => {
  const devices = plugIn();
  devices.video = [""];
  const { cameras, hidden } = await listDevices();
  assert.deepEqual(cameras, []);
  assert.equal(hidden.has("videoinput"), true);
});

test("a loudspeaker can be set back to the default, and one that is gone leaves the default", async () => {
  const player = {
    sinkId: "",
    async setSinkId(id) {
      if (id === "gone") throw new DOMException("no", "NotFoundError");
      this.sinkId = id;
    },
  };
  assert.equal(await setSpeaker(player, "hall"), true);
  assert.equal(await setSpeaker(player, ""), true);
  assert.equal(player.sinkId, "");
  await setSpeaker(player, "hall");
  assert.equal(await setSpeaker(player, "gone"), false);
  assert.equal(player.sinkId, "");
});

test("a key let go before the device is open leaves nothing on", async () => {
  const { devices, sources, told, sent } = setUp();
  const talk = new PushToTalk(sources, () => assert.fail("nothing failed"));
  devices.isHeldBack = true;
  const pressed = talk.press();
  await settled();
  talk.release();
  await devices.release();
  await pressed;
  assert.equal(sources.isOn("microphone"), false);
  assert.equal(sent.get("microphone") ?? null, null);
  assert.notEqual(told.get("microphone"), "on");
});

test("push to talk is on while the key is down, and leaves an open microphone alone", async () => {
  const { sources } = setUp();
  const talk = new PushToTalk(sources, () => assert.fail("nothing failed"));
  await talk.press();
  assert.equal(sources.isOn("microphone"), true);
  talk.release();
  assert.equal(sources.isOn("microphone"), false);
  await sources.start("microphone");
  await talk.press();
  talk.release();
  assert.equal(sources.isOn("microphone"), true);
});

test("muted by the chair while the key is down, letting it go changes nothing more", async () => {
  const { sources } = setUp();
  const talk = new PushToTalk(sources, () => undefined);
  await talk.press();
  sources.stop("microphone");
  talk.release();
  await talk.press();
  assert.equal(sources.isOn("microphone"), true);
});

test("a push to talk whose device fails is said, and may be tried again", async () => {
  const { devices, sources } = setUp();
  const failures = [];
  const talk = new PushToTalk(sources, (error) => failures.push(problemOf(error)));
  devices.failures = ["NotAllowedError"];
  await talk.press();
  assert.deepEqual(failures, ["denied"]);
  await talk.press();
  assert.equal(sources.isOn("microphone"), true);
});

test("who talks while muted is told after half a second, and no longer once heard", () => {
  const hint = new UnheardHint();
  const muted = { level: 0.6, isOn: false, isInterrupted: false, mayPublish: true };
  assert.equal(hint.update(0, 100, muted), null);
  for (let now = 100; now < 500; now += 100) hint.update(now, 100, muted);
  assert.equal(hint.update(500, 100, muted), "controls.mutedHint");
  assert.equal(hint.update(600, 100, { ...muted, isOn: true }), null);
  assert.equal(hint.update(700, 100, { ...muted, isOn: true, isInterrupted: true }), "device.interrupted.microphone");
});

test("a denied device is explained by the sign that this browser has", () => {
  const agents = {
    chromium: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    firefox: "Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0",
    safari: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/130.0 Mobile/15E148 Safari/604.1",
  };
  for (const [family, agent] of Object.entries(agents)) assert.equal(browserFamily(agent), family);
  assert.equal(problemText("denied", agents.firefox), "device.problem.denied.firefox");
  assert.equal(problemText("busy", agents.firefox), "device.problem.busy");
});
