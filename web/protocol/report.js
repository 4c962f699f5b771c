/**
 * The transport in a few numbers, and the numbers in one word. Pure.
 */

/**
 * @typedef {object} TransportReport
 * @property {number} atMs
 * @property {"udp" | "tcp" | null} protocol
 * @property {number | null} rttMs
 * @property {number} packetsReceived  since the connection began
 * @property {number} packetsLost
 * @property {number} bytesReceived
 * @property {number} bytesSent
 * @property {number | null} lossDown  ratio 0..1 since the report before
 * @property {number | null} lossUp
 * @property {number | null} receivedBps
 * @property {number | null} sentBps
 * @property {boolean} isRelayed  by a relay
 */

/** @typedef {"good" | "fair" | "poor"} Grade */

const POOR_RTT_MS = 300;
const FAIR_RTT_MS = 150;
const POOR_LOSS = 0.05;
const FAIR_LOSS = 0.02;

/**
 * @param {Iterable<[string, any]>} stats  an RTCStatsReport
 * @param {TransportReport | null} previous
 * @returns {TransportReport}
 */
export function reportTransport(stats, previous) {
  const byId = new Map(stats);
  /** @type {TransportReport} */
  const report = {
    atMs: 0,
    protocol: null,
    rttMs: null,
    packetsReceived: 0,
    packetsLost: 0,
    bytesReceived: 0,
    bytesSent: 0,
    lossDown: null,
    lossUp: null,
    receivedBps: null,
    sentBps: null,
    isRelayed: false,
  };
  for (const entry of byId.values()) {
    report.atMs = Math.max(report.atMs, entry.timestamp ?? 0);
    if (entry.type === "inbound-rtp") {
      report.packetsReceived += entry.packetsReceived ?? 0;
      report.packetsLost += Math.max(0, entry.packetsLost ?? 0);
    } else if (entry.type === "remote-inbound-rtp" && entry.kind !== "audio" && typeof entry.fractionLost === "number") {
      // Of a voice the bridge tells the encoder what its worst listener loses.
      report.lossUp = Math.max(report.lossUp ?? 0, entry.fractionLost);
    }
  }
  const pair = selectedPair(byId);
  if (pair) {
    if (typeof pair.currentRoundTripTime === "number") report.rttMs = pair.currentRoundTripTime * 1000;
    report.bytesReceived = pair.bytesReceived ?? 0;
    report.bytesSent = pair.bytesSent ?? 0;
    const protocol = byId.get(pair.localCandidateId)?.protocol ?? byId.get(pair.remoteCandidateId)?.protocol;
    report.isRelayed = byId.get(pair.localCandidateId)?.candidateType === "relay";
    report.protocol = protocol === "tcp" ? "tcp" : protocol === "udp" ? "udp" : null;
  }
  if (previous && report.atMs > previous.atMs) {
    const received = report.packetsReceived - previous.packetsReceived;
    const lost = report.packetsLost - previous.packetsLost;
    if (received + lost > 0) report.lossDown = Math.max(0, lost) / (received + Math.max(0, lost));
    const seconds = (report.atMs - previous.atMs) / 1000;
    report.receivedBps = (Math.max(0, report.bytesReceived - previous.bytesReceived) * 8) / seconds;
    report.sentBps = (Math.max(0, report.bytesSent - previous.bytesSent) * 8) / seconds;
  }
  return report;
}

/**
 * What is known of the line: what the page measured, and what the bridge did.
 * Losses are the bridge's: the page cannot tell what was lost on its own line
 * from what had been lost before, on the line of whoever sent it.
 * @param {TransportReport | null} report
 * @param {import("../shared/types.js").Quality | null} quality
 */
export function lineNumbers(report, quality) {
  return {
    protocol: report?.protocol ?? quality?.protocol ?? null,
    rttMs: report?.rttMs ?? quality?.rtt_ms ?? null,
    lossUp: quality?.loss_up ?? report?.lossUp ?? null,
    lossDown: quality?.loss_down ?? report?.lossDown ?? null,
    receivedBps: report?.receivedBps ?? null,
    sentBps: report?.sentBps ?? null,
    availableBps: quality?.available_bps ?? null,
  };
}

/** @param {Map<string, any>} byId */
function selectedPair(byId) {
  for (const entry of byId.values()) {
    if (entry.type === "transport" && entry.selectedCandidatePairId) return byId.get(entry.selectedCandidatePairId);
  }
  // Firefox has no transport entry but marks the pair itself.
  for (const entry of byId.values()) {
    if (entry.type === "candidate-pair" && (entry.selected || (entry.nominated && entry.state === "succeeded"))) {
      return entry;
    }
  }
  return undefined;
}

/**
 * @param {{rttMs: number | null, lossUp: number | null, lossDown: number | null}} numbers
 * @returns {Grade}
 */
export function grade({ rttMs, lossUp, lossDown }) {
  const rtt = rttMs ?? 0;
  const loss = Math.max(lossUp ?? 0, lossDown ?? 0);
  if (rtt > POOR_RTT_MS || loss > POOR_LOSS) return "poor";
  if (rtt > FAIR_RTT_MS || loss > FAIR_LOSS) return "fair";
  return "good";
}
