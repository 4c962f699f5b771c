/**
 * Devices: asking for camera and microphone, naming what went wrong, hearing
 * how loud the microphone is.
 */

/** @typedef {"denied" | "missing" | "busy" | "insecure" | "unsuitable" | "unknown"} DeviceProblem */

export class DeviceFailed extends Error {
  /** @param {DeviceProblem} problem */
  constructor(problem) {
    super(problem);
    this.problem = problem;
  }
}

/** @type {Record<string, DeviceProblem>} */
const PROBLEMS = {
  NotAllowedError: "denied",
  SecurityError: "denied",
  NotFoundError: "missing",
  NotReadableError: "busy",
  AbortError: "busy",
  OverconstrainedError: "unsuitable",
};

/**
 * @param {unknown} error
 * @returns {DeviceProblem}
 */
export function problemOf(error) {
  if (error instanceof DeviceFailed) return error.problem;
  const name = error instanceof Error ? error.name : "";
  return PROBLEMS[name] ?? "unknown";
}

/** @returns {MediaDevices} */
function devices() {
  // Absent on pages that are not a secure context.
  if (!navigator.mediaDevices?.getUserMedia) throw new DeviceFailed("insecure");
  return navigator.mediaDevices;
}

/**
 * @param {MediaStreamConstraints} constraints
 * @returns {Promise<MediaStreamTrack>}
 */
async function open(constraints) {
  try {
    const stream = await devices().getUserMedia(constraints);
    const track = stream.getTracks()[0];
    if (!track) throw new DeviceFailed("missing");
    return track;
  } catch (error) {
    throw new DeviceFailed(problemOf(error));
  }
}

/**
 * @param {string} deviceId  empty for the default one
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openMicrophone(deviceId) {
  const processing = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  const track = await withFallback(deviceId, (device) => open({ audio: { ...processing, ...device } }));
  track.contentHint = "speech";
  return track;
}

/**
 * @param {string} deviceId  empty for the default one
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openCamera(deviceId) {
  const size = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
  return withFallback(deviceId, (device) => open({ video: { ...size, ...device } }));
}

/**
 * A device remembered from last week may be unplugged today: take the default one then.
 * @param {string} deviceId
 * @param {(device: MediaTrackConstraints) => Promise<MediaStreamTrack>} request
 */
async function withFallback(deviceId, request) {
  if (!deviceId) return request({});
  try {
    return await request({ deviceId: { exact: deviceId } });
  } catch (error) {
    const problem = problemOf(error);
    if (problem !== "missing" && problem !== "unsuitable") throw error;
    return request({});
  }
}

/**
 * @returns {Promise<MediaStreamTrack>} a screen or window of the user's choice
 */
export async function openScreen() {
  if (!navigator.mediaDevices?.getDisplayMedia) throw new DeviceFailed("insecure");
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({
      video: { frameRate: { ideal: 15, max: 30 } },
      audio: false,
    });
    const track = stream.getVideoTracks()[0];
    if (!track) throw new DeviceFailed("missing");
    // An X-ray or a page of text must stay sharp; frames may be dropped instead.
    track.contentHint = "detail";
    return track;
  } catch (error) {
    throw new DeviceFailed(problemOf(error));
  }
}

export function canShareScreen() {
  return Boolean(navigator.mediaDevices && "getDisplayMedia" in navigator.mediaDevices);
}

/**
 * @typedef {{microphones: MediaDeviceInfo[], cameras: MediaDeviceInfo[], speakers: MediaDeviceInfo[]}} DeviceList
 * @returns {Promise<DeviceList>}
 */
export async function listDevices() {
  if (!navigator.mediaDevices?.enumerateDevices) return { microphones: [], cameras: [], speakers: [] };
  const all = await navigator.mediaDevices.enumerateDevices();
  /** @param {MediaDeviceKind} kind */
  const of = (kind) => all.filter((device) => device.kind === kind && device.deviceId !== "");
  return { microphones: of("audioinput"), cameras: of("videoinput"), speakers: of("audiooutput") };
}

/**
 * A camera that is not this one, for the auxiliary picture.
 * @param {string} deviceId
 * @returns {Promise<string>} empty when there is no other
 */
export async function otherCamera(deviceId) {
  const { cameras } = await listDevices();
  return cameras.find((camera) => camera.deviceId !== deviceId)?.deviceId ?? "";
}

/** @param {() => void} listener @returns {() => void} stop listening */
export function onDevicesChanged(listener) {
  const source = navigator.mediaDevices;
  if (!source) return () => undefined;
  source.addEventListener("devicechange", listener);
  return () => source.removeEventListener("devicechange", listener);
}

/** @type {AudioContext | null} */
let audioContext = null;

function context() {
  audioContext ??= new AudioContext();
  if (audioContext.state === "suspended") void audioContext.resume();
  return audioContext;
}

/** Hears how loud a microphone track is, 0 (silence) to 1 (very loud). */
export class LevelMeter {
  /** @param {MediaStreamTrack} track */
  constructor(track) {
    const audio = context();
    this.source = audio.createMediaStreamSource(new MediaStream([track]));
    this.analyser = audio.createAnalyser();
    this.analyser.fftSize = 1024;
    this.samples = new Float32Array(this.analyser.fftSize);
    this.source.connect(this.analyser);
  }

  /** @returns {number} -50 dBFS or less gives 0, -5 dBFS gives 1 */
  level() {
    this.analyser.getFloatTimeDomainData(this.samples);
    let sum = 0;
    for (const sample of this.samples) sum += sample * sample;
    const decibels = 10 * Math.log10(sum / this.samples.length + 1e-10);
    return Math.min(1, Math.max(0, (decibels + 50) / 45));
  }

  stop() {
    this.source.disconnect();
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
 * @param {string} speakerId
 */
export async function setSpeaker(player, speakerId) {
  if (!("setSinkId" in player) || !speakerId) return;
  try {
    await player.setSinkId(speakerId);
  } catch (error) {
    // The remembered loudspeaker is gone: the default one goes on playing.
    if (!(error instanceof DOMException)) throw error;
  }
}
