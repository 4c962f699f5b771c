// A microphone whose owner speaks when the test says so: the real capture goes through a gate. And an ear that
// notes when each voice was first heard, by what the decoder put out.
(() => {
  const LOOK_EVERY_MS = 20;
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

  /** First time at which each participant was heard since `listen` began, and the energy of each voice so far. */
  let heard = new Map();
  const energies = new Map();

  async function look() {
    const { peer, state } = window.hoichan;
    if (!peer) return;
    for (const line of (await peer.pc.getStats()).values()) {
      if (line.type !== "inbound-rtp" || line.kind !== "audio") continue;
      const before = energies.get(line.mid);
      const now = { energy: line.totalAudioEnergy, seconds: line.totalSamplesDuration };
      energies.set(line.mid, now);
      if (!before || now.seconds <= before.seconds) continue;
      const level = Math.sqrt((now.energy - before.energy) / (now.seconds - before.seconds));
      const participant = state.slots.get(line.mid)?.participant;
      if (level > AUDIBLE && participant && !heard.has(participant)) heard.set(participant, Date.now());
    }
  }
  setInterval(look, LOOK_EVERY_MS);

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
    listen: () => {
      heard = new Map();
    },
    heardAt: (participant) => heard.get(participant) ?? null,
  };
})();
