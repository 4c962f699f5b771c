/**
 * Sound on this machine: how loud the microphone is, and the loudspeaker.
 */

/** @type {AudioContext | null} */
let audioContext = null;

function context() {
  audioContext ??= new AudioContext();
  if (audioContext.state === "suspended") void audioContext.resume();
  return audioContext;
}

/** @param {MediaStreamTrack} track @returns {{source: MediaStreamAudioSourceNode, own: AudioContext | null}} */
function listenTo(track) {
  const stream = new MediaStream([track]);
  const shared = context();
  try {
    return { source: shared.createMediaStreamSource(stream), own: null };
  } catch (error) {
    // Firefox: a headset in hands-free mode has another rate than the context, so it gets one of its own.
    const { sampleRate } = track.getSettings();
    if (!(error instanceof DOMException) || !sampleRate || sampleRate === shared.sampleRate) throw error;
    const own = new AudioContext({ sampleRate });
    try {
      return { source: own.createMediaStreamSource(stream), own };
    } catch (again) {
      void own.close();
      throw again;
    }
  }
}

/**
 * Hears how loud a microphone track is, 0 (silence) to 1 (very loud). A meter
 * is decoration: a browser that cannot measure gives 0, and nothing fails.
 */
export class LevelMeter {
  /** @type {{source: MediaStreamAudioSourceNode, own: AudioContext | null} | null} */ #heard = null;
  /** @type {AnalyserNode | null} */ #analyser = null;
  #samples = new Float32Array(1024);

  /** @param {MediaStreamTrack} track */
  constructor(track) {
    try {
      this.#heard = listenTo(track);
      this.#analyser = this.#heard.source.context.createAnalyser();
      this.#analyser.fftSize = this.#samples.length;
      this.#heard.source.connect(this.#analyser);
    } catch (error) {
      console.warn("no level of the microphone:", error);
      this.stop();
    }
  }

  /** Whether there is anything to be read. */
  get isMeasuring() {
    return this.#analyser !== null;
  }

  /** @returns {number} -50 dBFS or less gives 0, -5 dBFS gives 1 */
  level() {
    if (!this.#analyser) return 0;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    const decibels = 10 * Math.log10(sum / this.#samples.length + 1e-10);
    return Math.min(1, Math.max(0, (decibels + 50) / 45));
  }

  stop() {
    this.#heard?.source.disconnect();
    void this.#heard?.own?.close();
    this.#heard = null;
    this.#analyser = null;
  }
}

/**
 * Two soft notes on the chosen loudspeaker, to hear that it works.
 * @param {string} speakerId  empty for the default one
 */
export async function playTestSound(speakerId) {
  const audio = context();
  const destination = audio.createMediaStreamDestination();
  const start = audio.currentTime + 0.05;
  for (const [index, frequency_hz] of [523.25, 659.25].entries()) {
    const oscillator = audio.createOscillator();
    const volume = audio.createGain();
    oscillator.frequency.value = frequency_hz;
    volume.gain.setValueAtTime(0, start + index * 0.35);
    volume.gain.linearRampToValueAtTime(0.25, start + index * 0.35 + 0.03);
    volume.gain.linearRampToValueAtTime(0, start + index * 0.35 + 0.33);
    oscillator.connect(volume).connect(destination);
    oscillator.start(start + index * 0.35);
    oscillator.stop(start + index * 0.35 + 0.35);
  }
  const player = new Audio();
  player.srcObject = destination.stream;
  await setSpeaker(player, speakerId);
  await player.play();
  setTimeout(() => (player.srcObject = null), 1200);
}

/**
 * Send an element's sound to the chosen loudspeaker, where the browser can.
 * @param {HTMLMediaElement} player
 * @param {string} speakerId  empty for the default one
 * @returns {Promise<boolean>} false: that loudspeaker is not there, and the default one plays
 */
export async function setSpeaker(player, speakerId) {
  if (!("setSinkId" in player) || player.sinkId === speakerId) return true;
  try {
    await player.setSinkId(speakerId);
    return true;
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    // Set to one that is gone, the element would be silent.
    if (speakerId) await setSpeaker(player, "");
    return false;
  }
}
