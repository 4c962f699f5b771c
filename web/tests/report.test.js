import assert from "node:assert/strict";
import { test } from "node:test";

import { grade, reportTransport } from "../protocol/report.js";

function stats({ at = 1000, protocol = "udp", received = 100, lost = 0, bytes = 0, rtt = 0.02, up, voiceUp } = {}) {
  const entries = [
    { id: "T", type: "transport", timestamp: at, selectedCandidatePairId: "P" },
    { id: "P", type: "candidate-pair", localCandidateId: "L", currentRoundTripTime: rtt, bytesReceived: bytes, bytesSent: 0 },
    { id: "L", type: "local-candidate", protocol },
    { id: "I", type: "inbound-rtp", packetsReceived: received, packetsLost: lost },
  ];
  if (up !== undefined) entries.push({ id: "R", type: "remote-inbound-rtp", fractionLost: up });
  if (voiceUp !== undefined) entries.push({ id: "V", type: "remote-inbound-rtp", kind: "audio", fractionLost: voiceUp });
  return entries.map((entry) => [entry.id, entry]);
}

test("what a listener loses of a voice is not a loss on the way up", () => {
  assert.equal(reportTransport(stats({ voiceUp: 0.2 }), null).lossUp, null);
  assert.equal(reportTransport(stats({ up: 0.01, voiceUp: 0.2 }), null).lossUp, 0.01);
});

test("a connection over TCP is recognised", () => {
  assert.equal(reportTransport(stats({ protocol: "tcp" }), null).protocol, "tcp");
  assert.equal(reportTransport(stats(), null).protocol, "udp");
});

test("losses and rates are those since the report before", () => {
  const first = reportTransport(stats(), null);
  const second = reportTransport(stats({ at: 3000, received: 190, lost: 10, bytes: 250_000 }), first);
  assert.equal(second.lossDown, 0.1);
  assert.equal(second.receivedBps, 1_000_000);
  assert.equal(first.lossDown, null);
});

test("a browser without a transport entry names its pair by selection", () => {
  const entries = stats().filter(([id]) => id !== "T");
  entries[0][1].selected = true;
  entries[0][1].timestamp = 5;
  assert.equal(reportTransport(entries, null).protocol, "udp");
});

test("no numbers at all make an empty report", () => {
  const report = reportTransport([], null);
  assert.equal(report.protocol, null);
  assert.equal(report.rttMs, null);
});

test("the word for the line follows delay and loss in either direction", () => {
  assert.equal(grade({ rttMs: 40, lossUp: 0, lossDown: 0 }), "good");
  assert.equal(grade({ rttMs: 200, lossUp: 0, lossDown: 0 }), "fair");
  assert.equal(grade({ rttMs: 40, lossUp: 0.08, lossDown: 0 }), "poor");
  assert.equal(grade({ rttMs: 400, lossUp: null, lossDown: null }), "poor");
  assert.equal(grade({ rttMs: null, lossUp: null, lossDown: 0.03 }), "fair");
});
