// What a receiver's page sees and hears, every half second, and when each picture of the stage was shown.
// Times are seconds of Date.now(): one clock for all pages of the machine.
(() => {
  const EVERY_MS = 500;
  const STAGE = ".pane.stage video.remote";

  /** @type {number[]} */
  let shown = [];
  /** @type {object[]} */
  let samples = [];
  const watched = new WeakSet();
  let longestLag_ms = 0;
  let ticked_ms = performance.now();

  function watch(video) {
    if (!video || watched.has(video)) return;
    watched.add(video);
    const frame = (now, { presentationTime }) => {
      video.requestVideoFrameCallback(frame);
      if (!video.closest(".pane").hidden) shown.push((performance.timeOrigin + presentationTime) / 1000);
    };
    video.requestVideoFrameCallback(frame);
  }

  function text(selector) {
    const found = document.querySelector(selector);
    return found?.checkVisibility() ? found.innerText.trim().replace(/\s+/g, " ") : "";
  }

  /** Streams that carried the voice once: in silence their slot may show nobody, and the silence counts. */
  const voices = new Set();
  let connection = null;

  async function sample() {
    const { peer, state } = window.hoichan ?? {};
    const pc = peer?.pc;
    if (!pc) return;
    if (pc !== connection) voices.clear();
    connection = pc;
    const video = document.querySelector(STAGE);
    watch(video);
    const roles = new Map(peer.slots.map(({ mid, role }) => [mid, role]));
    const one = {
      at: Date.now() / 1000,
      // Counters begin anew with each connection.
      connection: pc.hoichanSince ??= Date.now(),
      height_px: video && !video.closest(".pane").hidden ? video.videoHeight : 0,
      estimate_bps: state.quality?.available_bps ?? null,
      // Of the line in general, and of the picture that is shown.
      line: text("#transport-text"),
      picture: `${text("#banner")} · ${text(".pane.stage")}`,
      lag_ms: longestLag_ms,
      stage: null,
      voice: { samples: 0, concealed: 0, packets: 0, lost: 0, fec: 0, delay_s: 0, emitted: 0 },
      received_bytes: 0,
      protocol: null,
      rtt_s: null,
    };
    longestLag_ms = 0;
    for (const line of (await pc.getStats()).values()) {
      if (line.type === "candidate-pair" && line.nominated) {
        one.received_bytes += line.bytesReceived;
        one.rtt_s = line.currentRoundTripTime ?? null;
      }
      if (line.type !== "inbound-rtp") continue;
      const role = roles.get(line.mid);
      if (line.kind === "audio") {
        if (state.slots.get(line.mid)) voices.add(line.mid);
        if (!voices.has(line.mid)) continue;
        one.voice.samples += line.totalSamplesReceived ?? 0;
        one.voice.concealed += line.concealedSamples ?? 0;
        one.voice.packets += line.packetsReceived;
        one.voice.lost += line.packetsLost;
        one.voice.fec += line.fecPacketsReceived ?? 0;
        one.voice.delay_s += line.jitterBufferDelay ?? 0;
        one.voice.emitted += line.jitterBufferEmittedCount ?? 0;
      } else if (role === "stage") {
        one.stage = {
          frames: line.framesDecoded ?? 0,
          keyframes: line.keyFramesDecoded ?? 0,
          height_px: line.frameHeight ?? 0,
          bytes: line.bytesReceived,
          packets: line.packetsReceived,
          lost: line.packetsLost,
          freezes: line.freezeCount ?? 0,
          freezes_s: line.totalFreezesDuration ?? 0,
        };
      }
    }
    samples.push(one);
  }

  setInterval(() => void sample().catch(() => {}), EVERY_MS);
  setInterval(() => {
    const now = performance.now();
    longestLag_ms = Math.max(longestLag_ms, now - ticked_ms - 50);
    ticked_ms = now;
  }, 50);

  window.sampler = {
    stageFrames: () => samples.at(-1)?.stage?.frames ?? 0,
    voiceSamples: () => samples.at(-1)?.voice.samples ?? 0,
    /** Give away what has gathered. */
    drain: () => {
      const gathered = { shown, samples };
      shown = [];
      samples = [];
      return gathered;
    },
  };
})();
