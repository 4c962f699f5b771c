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
  restartIce = () => undefined;
  getConfiguration = () => this.configuration;
  setConfiguration = (configuration) => void (this.configuration = configuration);
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
  beat_s: 4,
  muted: [],
  link_in_use: 0,
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

const MUTED = [{ source: "microphone", by: "p-0" }];

for (const source of ["microphone", "camera"]) {
  test(`${source}: muted by the chair while the socket was away, it stays so`, async () => {
    const { conference, sources, done } = await setUp();
    await sources.startBoth();
    Socket.last.onopen();
    Socket.last.receive(welcome());
    reconnect(conference);
    Socket.last.receive(welcome({ resumed: true, muted: [{ source, by: "p-0" }] }));
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
  Socket.last.onopen();
  Socket.last.receive(welcome());
  Socket.last.receive({ type: "muted", source: "microphone", by: "p-0" });
  conference.connection.drop();
  await sources.start("microphone");
  conference.connection.retryNow();
  Socket.last.onopen();
  Socket.last.receive(welcome({ resumed: true, muted: MUTED }, { microphone: "muted" }));
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
  Socket.last.receive(welcome({ resumed: true, muted: MUTED }, { hand: 2 }));
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

test("interrupted by the system: the bridge is told, once more with a new connection, and when it ends", async () => {
  const { sources, done } = await setUp();
  await sources.start("microphone");
  Socket.last.onopen();
  Socket.last.receive(welcome());
  await settled();
  sources.track("microphone").mute(true);
  const told = () => Socket.last.of("interrupted").map(({ source, interrupted }) => `${source} ${interrupted}`);
  assert.deepEqual(told(), ["microphone true"]);
  assert.equal(Socket.last.of("mute").findLast(({ source }) => source === "microphone").muted, false, "its owner did not mute it");
  Socket.last.receive(welcome());
  await settled();
  assert.ok(told().length >= 2);
  sources.stop("microphone");
  assert.equal(told().at(-1), "microphone false");
  done();
});

test("a new peer connection waits for the relay credentials that follow the welcome", async () => {
  const relay = (username) => [{ urls: ["turn:relay"], username, credential: "x" }];
  const { conference, done } = await setUp({ iceServers: relay("early") });
  Socket.last.onopen();
  Socket.last.receive(welcome());
  await settled();
  assert.equal(conference.peer, null);
  Socket.last.receive({ type: "token", token: "t2", expires_s: 600, ice_servers: relay("later") });
  await settled();
  assert.equal(PeerConnection.last.configuration.iceServers[0].username, "later");
  done();
});
