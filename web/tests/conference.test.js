import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Sources } from "../devices/sources.js";
import { Conference } from "../room/conference.js";
import { plugIn, settled } from "./devices_stub.js";

class Socket extends EventTarget {
  static last;
  readyState = 1;
  sent = [];
  constructor() {
    super();
    Socket.last = this;
  }
  send(data) {
    this.sent.push(JSON.parse(data));
  }
  close() {
    this.readyState = 3;
  }
  receive(message) {
    this.onmessage({ data: JSON.stringify(message) });
  }
  of(type) {
    return this.sent.filter((message) => message.type === type);
  }
}

const idle = () => ({
  mid: null,
  receiver: { track: {} },
  sender: { getParameters: () => ({ encodings: [] }), replaceTrack: async () => undefined },
});

class PeerConnection {
  signalingState = "stable";
  iceConnectionState = "new";
  connectionState = "new";
  constructor(configuration) {
    this.configuration = configuration;
    PeerConnection.last = this;
  }
  addTransceiver = idle;
  createOffer = async () => ({ type: "offer", sdp: "v=0" });
  async setLocalDescription(description) {
    this.localDescription = description;
    this.signalingState = "have-local-offer";
  }
  close = () => undefined;
}

const ME = { participant: "p-1", site: "A", name: "B", role: "presenter", level: "district", microphone: "on", camera: "on", content: false, auxiliary: false, hand: null, connected: true };

const welcome = (changes = {}, me = {}) => ({
  type: "welcome",
  participant: "p-1",
  resume: { secret: "s", seconds: 30 },
  role: "presenter",
  room: { id: "r", title: "T", locked: false, stage: null, content: null, recording: {} },
  roster: [{ ...ME, ...me }],
  count: 1,
  chat: [],
  thumbnails_max: 49,
  resumed: false,
  may_publish: true,
  ...changes,
});

async function setUp(options = {}) {
  const devices = plugIn();
  globalThis.window = new EventTarget();
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  globalThis.WebSocket = Socket;
  globalThis.RTCPeerConnection = PeerConnection;
  globalThis.RTCRtpReceiver = { getCapabilities: () => null };
  const warn = mock.method(console, "warn", () => undefined);
  const sources = new Sources({ microphone: "", camera: "", auxiliary: "" });
  const observer = new Proxy({}, { get: () => () => undefined });
  const conference = new Conference(
    {
      url: "wss://bridge/ws",
      token: "t",
      tokenAgeMs: 0,
      name: "B",
      language: "vi",
      iceServers: [],
      sources,
      back: null,
      refreshToken: async () => ({ token: "t" }),
      renewIceServers: async () => null,
      ...options,
    },
    observer,
  );
  conference.open();
  const done = () => {
    conference.leave();
    warn.mock.restore();
  };
  return { conference, sources, devices, done };
}

/** Cut the socket and open the next one, as the network's return does. */
function reconnect(conference) {
  conference.connection.drop();
  conference.connection.retryNow();
  Socket.last.onopen();
}

for (const [source, muted] of [["microphone", { microphone: "muted" }], ["camera", { camera: "off" }]]) {
  test(`${source}: muted by the chair while the socket was away, it stays so`, async () => {
    const { conference, sources, done } = await setUp();
    await sources.startBoth();
    Socket.last.onopen();
    Socket.last.receive(welcome());
    reconnect(conference);
    Socket.last.receive(welcome({ resumed: true }, muted));
    assert.equal(sources.isOn(source), false);
    const told = Socket.last.of("mute").filter((mute) => mute.source === source);
    assert.ok(told.length > 0);
    assert.deepEqual(told.filter((mute) => !mute.muted), []);
    done();
  });
}

test("switched on by its owner while the socket was away, it is on", async () => {
  const { conference, sources, done } = await setUp();
  await sources.start("microphone");
  sources.stop("microphone");
  Socket.last.onopen();
  Socket.last.receive(welcome({}, { microphone: "muted" }));
  conference.connection.drop();
  await sources.start("microphone");
  conference.connection.retryNow();
  Socket.last.onopen();
  Socket.last.receive(welcome({ resumed: true }, { microphone: "muted" }));
  assert.equal(sources.isOn("microphone"), true);
  assert.equal(Socket.last.of("mute").findLast(({ source }) => source === "microphone").muted, false);
  done();
});

test("loaded anew, a page keeps its hand, and a mute that it did not hear of", async () => {
  const back = { name: "B", resume: { participant: "p-1", secret: "old" }, isMicrophoneOn: true, isCameraOn: false, atMs: 0 };
  const { conference, sources, done } = await setUp({ back });
  await sources.start("microphone");
  Socket.last.onopen();
  assert.deepEqual(Socket.last.sent[0].resume, back.resume);
  Socket.last.receive(welcome({ resumed: true }, { hand: 2, microphone: "muted" }));
  assert.equal(conference.isHandRaised, true);
  assert.equal(sources.isOn("microphone"), false);
  await settled();
  assert.equal(Socket.last.of("offer")[0].replace, true);
  done();
});

test("without the right to be seen nothing is left open", async () => {
  const { sources, devices, done } = await setUp();
  await sources.startBoth();
  Socket.last.onopen();
  Socket.last.receive(welcome());
  Socket.last.receive({ type: "floor", granted: false });
  assert.deepEqual(devices.live, []);
  done();
});

test("a new peer connection gets relay credentials that are good now", async () => {
  const now = mock.method(performance, "now", () => 0);
  const fresh = [{ urls: "turn:relay", username: "later", credential: "y" }];
  const { done } = await setUp({ iceServers: [{ urls: "turn:relay", username: "early", credential: "x" }], renewIceServers: async () => fresh });
  Socket.last.onopen();
  Socket.last.receive(welcome());
  await settled();
  assert.equal(PeerConnection.last.configuration.iceServers[0].username, "early");
  now.mock.mockImplementation(() => 43_200_000);
  Socket.last.receive(welcome());
  await settled();
  assert.deepEqual(PeerConnection.last.configuration.iceServers, fresh);
  now.mock.restore();
  done();
});
