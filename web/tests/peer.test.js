import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { Peer } from "../protocol/peer.js";
import { settled } from "./devices_stub.js";

class Transceiver {
  mid = null;
  isKept = false;
  receiver = { track: {} };
  sender = { track: null, getParameters: () => ({ encodings: [] }), replaceTrack: async () => undefined };
}

/** As much of RTCPeerConnection as offers and answers need. */
class Connection {
  signalingState = "stable";
  iceConnectionState = "new";
  connectionState = "new";
  localDescription = null;
  transceivers = [];
  configuration;
  isAnswerRejected = false;
  restarts = 0;
  constructor(configuration) {
    this.configuration = configuration;
    Connection.last = this;
  }
  addTransceiver = () => {
    const transceiver = new Transceiver();
    this.transceivers.push(transceiver);
    return transceiver;
  };
  createOffer = async ({ iceRestart }) => ({ type: "offer", sdp: iceRestart ? "restarted" : "offered" });
  async setLocalDescription(description) {
    if (description.type === "rollback") {
      this.signalingState = "stable";
      for (const transceiver of this.transceivers) if (!transceiver.isKept) transceiver.mid = null;
      return;
    }
    this.signalingState = "have-local-offer";
    this.localDescription = description;
    for (const [index, transceiver] of this.transceivers.entries()) transceiver.mid ??= String(index);
  }
  async setRemoteDescription() {
    if (this.isAnswerRejected) throw new DOMException("no", "OperationError");
    this.signalingState = "stable";
    for (const transceiver of this.transceivers) transceiver.isKept = true;
  }
  restartIce = () => void (this.restarts += 1);
  getConfiguration = () => this.configuration;
  setConfiguration = (configuration) => void (this.configuration = configuration);
  close = () => void (this.signalingState = "closed");
}

function setUp({ isOpen = true, iceServers = () => [] } = {}) {
  globalThis.RTCPeerConnection = Connection;
  globalThis.RTCRtpReceiver = { getCapabilities: () => null };
  mock.method(console, "warn", () => undefined);
  const offers = [];
  const seen = { lost: 0, slots: 0 };
  const channel = { isOpen };
  const peer = new Peer(
    {
      offer: (offer) => {
        if (channel.isOpen) offers.push(offer);
        return channel.isOpen;
      },
      slotsAdded: () => void (seen.slots += 1),
      connectedChanged: () => undefined,
      lost: () => void (seen.lost += 1),
      iceServers,
    },
    { iceServers: [] },
  );
  return { peer, pc: Connection.last, offers, seen, channel };
}

async function joined(options) {
  const world = setUp(options);
  await world.peer.negotiate();
  await world.peer.answered(1, "answer");
  return world;
}

test("a browser that rejects the answer asks for a new connection", async () => {
  const { peer, pc, seen } = setUp();
  await peer.negotiate();
  pc.isAnswerRejected = true;
  await peer.answered(1, "answer");
  assert.equal(seen.lost, 1);
});

test("a browser that makes no offer asks for a new connection", async () => {
  const { peer, pc, seen } = setUp();
  pc.createOffer = async () => {
    throw new DOMException("no", "OperationError");
  };
  await peer.negotiate();
  assert.equal(seen.lost, 1);
});

test("media that the bridge has given up are replaced at once, but not those that were never answered", async () => {
  const { peer, seen } = await joined();
  await peer.refused(undefined, "rate-limited");
  assert.equal(seen.lost, 0);
  await peer.refused(undefined, "negotiation-failed:media-lost");
  assert.equal(seen.lost, 1);
  const next = setUp();
  await next.peer.negotiate();
  await next.peer.refused(undefined, "negotiation-failed:media-lost");
  assert.equal(next.seen.lost, 0, "the bridge speaks of the one before");
  await next.peer.answered(1, "answer");
  assert.equal(next.peer.negotiations, 1);
});

test("a refused offer is taken back with its mids, and made again", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { peer, offers, seen } = await joined();
    const before = peer.slotsOf("thumbnail").length;
    peer.ensureThumbnails(16);
    await settled();
    assert.equal(peer.slotsOf("thumbnail").length, 16);
    await peer.refused(2, "rate-limited");
    assert.equal(peer.slotsOf("thumbnail").length, before);
    mock.timers.tick(2000);
    await settled();
    assert.equal(offers.length, 3);
    assert.equal(offers[2].replace, false);
    await peer.answered(3, "answer");
    assert.equal(peer.slotsOf("thumbnail").length, 16);
    assert.equal(seen.lost, 0);
  } finally {
    mock.timers.reset();
  }
});

test("an offer that nobody answers is sent again after ten seconds, and given up in the end", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { peer, offers, seen } = await joined();
    peer.restartIce();
    await settled();
    mock.timers.tick(9999);
    assert.equal(offers.length, 2);
    mock.timers.tick(1);
    assert.deepEqual(offers.map(({ id }) => id), [1, 2, 3]);
    await peer.answered(2, "late");
    assert.equal(peer.negotiations, 1, "the answer to an offer that was made again is not taken");
    await peer.answered(3, "answer");
    assert.equal(peer.negotiations, 2);
    peer.restartIce();
    await settled();
    for (let round = 0; round < 4; round++) mock.timers.tick(10_000);
    assert.equal(seen.lost, 1);
  } finally {
    mock.timers.reset();
  }
});

test("what could not be sent waits for the channel, not for the clock", async () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { peer, offers, channel, seen } = await joined();
    channel.isOpen = false;
    peer.restartIce();
    await settled();
    mock.timers.tick(60_000);
    assert.equal(seen.lost, 0);
    channel.isOpen = true;
    peer.resumed();
    assert.equal(offers.length, 2);
  } finally {
    mock.timers.reset();
  }
});

test("a restart uses the relay credentials that are good now", async () => {
  const fresh = [{ urls: "turn:relay", username: "later", credential: "x" }];
  const { peer, pc, offers } = await joined({ iceServers: () => fresh });
  peer.restartIce();
  await settled();
  assert.deepEqual(pc.configuration.iceServers, fresh);
  assert.equal(offers[1].sdp, "restarted");
  peer.close();
});
