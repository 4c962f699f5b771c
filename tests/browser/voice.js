// A microphone whose owner speaks when the test says so: the real capture goes through a gate. And an ear that
// notes when each voice was first heard, by what the decoder put out.
(() => {
  const LOOK_EVERY_MS = 40;
  const AUDIBLE = 0.02;
  // Chromium answers with what it last counted, unless that is older.
  const STATISTICS_AGE_MS = 50;
  const original = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  let gate = null;
  let meter = null;

  navigator.mediaDevices.getUserMedia = async (constraints) => {
    const stream = await original(constraints);
    const [microphone] = stream.getAudioTracks();
    if (!microphone) return stream;
    const context = new AudioContext({ latencyHint: "interactive" });
    gate = context.createGain();
    gate.gain.value = 0;
    const destination = context.createMediaStreamDestination();
    context.createMediaStreamSource(new MediaStream([microphone])).connect(gate).connect(destination);
    meter = context.createAnalyser();
    meter.fftSize = 512;
    gate.connect(meter);
    return new MediaStream([...destination.stream.getAudioTracks(), ...stream.getVideoTracks()]);
  };

  /** Whom the ear waits for, and between which two looks that voice was first heard; at other times it rests. */
  let awaited = null;
  let heard = null;

  /** The energy of each voice so far, as its decoder put it out. */
  async function energies() {
    const found = new Map();
    for (const line of (await window.hoichan.peer.pc.getStats()).values()) {
      if (line.type !== "inbound-rtp" || line.kind !== "audio") continue;
      const { totalAudioEnergy: energy, totalSamplesDuration: seconds } = line;
      const { jitterBufferDelay: delay, jitterBufferEmittedCount: emitted } = line;
      found.set(line.mid, { energy, seconds, delay, emitted });
    }
    return found;
  }

  async function listen(participant) {
    awaited = participant;
    heard = null;
    let after = Date.now() - STATISTICS_AGE_MS;
    let before = await energies();
    while (awaited === participant && heard === null) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      const asked = Date.now() - STATISTICS_AGE_MS;
      const now = await energies();
      const by = Date.now();
      for (const [mid, line] of now) {
        const { energy, seconds, delay, emitted } = before.get(mid) ?? { energy: 0, seconds: 0, delay: 0, emitted: 0 };
        if (line.seconds === seconds || line.emitted === emitted) continue;
        const level = Math.sqrt((line.energy - energy) / (line.seconds - seconds));
        if (level > AUDIBLE && window.hoichan.state.slots.get(mid)?.participant === participant) {
          heard ??= { after, by, buffered: ((line.delay - delay) / (line.emitted - emitted)) * 1000 };
        }
      }
      before = now;
      after = asked;
    }
  }

  window.voice = {
    /** Open the gate; return between which two looks the first sound went through it, as speech has pauses. */
    speak: async () => {
      gate.gain.value = 1;
      const samples = new Float32Array(meter.fftSize);
      let after = Date.now();
      let by = after;
      do {
        after = by;
        await new Promise((resolve) => setTimeout(resolve, 4));
        meter.getFloatTimeDomainData(samples);
        by = Date.now();
      } while (!samples.some((sample) => Math.abs(sample) > AUDIBLE));
      return { after, by };
    },
    hush: () => {
      gate.gain.value = 0;
    },
    cease: () => {
      awaited = null;
    },
    listen: (participant) => void listen(participant),
    heard: () => heard,
  };
})();
