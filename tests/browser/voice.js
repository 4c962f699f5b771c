// A microphone whose owner speaks when the test says so: the real capture goes through a gate. And an ear that
// notes when each voice was first heard, by what the decoder put out.
(() => {
  const LOOK_EVERY_MS = 40;
  const AUDIBLE = 0.02;
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

  /** Whom the ear waits for, and when that voice was first heard; it looks at nothing at other times. */
  let awaited = null;
  let heardAt = null;

  /** The energy of each voice so far, as its decoder put it out. */
  async function energies() {
    const found = new Map();
    for (const line of (await window.hoichan.peer.pc.getStats()).values()) {
      if (line.type !== "inbound-rtp" || line.kind !== "audio") continue;
      found.set(line.mid, { energy: line.totalAudioEnergy, seconds: line.totalSamplesDuration });
    }
    return found;
  }

  async function listen(participant) {
    awaited = participant;
    heardAt = null;
    let before = await energies();
    while (awaited === participant && heardAt === null) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
      const now = await energies();
      for (const [mid, { energy, seconds }] of now) {
        const { energy: energyBefore, seconds: secondsBefore } = before.get(mid) ?? { energy: 0, seconds: 0 };
        const level = seconds > secondsBefore ? Math.sqrt((energy - energyBefore) / (seconds - secondsBefore)) : 0;
        if (level > AUDIBLE && window.hoichan.state.slots.get(mid)?.participant === participant) heardAt ??= Date.now();
      }
      before = now;
    }
  }

  window.voice = {
    /** Open the gate; return when the first sound goes through it, as speech has pauses. */
    speak: async () => {
      gate.gain.value = 1;
      const samples = new Float32Array(meter.fftSize);
      do {
        await new Promise((resolve) => setTimeout(resolve, 4));
        meter.getFloatTimeDomainData(samples);
      } while (!samples.some((sample) => Math.abs(sample) > AUDIBLE));
      return Date.now();
    },
    hush: () => {
      gate.gain.value = 0;
    },
    cease: () => {
      awaited = null;
    },
    listen: (participant) => void listen(participant),
    heardAt: () => heardAt,
  };
})();
