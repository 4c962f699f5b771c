/**
 * Devices: asking for camera and microphone, and naming what went wrong.
 */

/** @typedef {"denied" | "missing" | "busy" | "insecure" | "unsuitable" | "unknown"} KnownProblem */
/** @typedef {KnownProblem | "abandoned"} DeviceProblem  abandoned: nobody waits for the device any more */

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

/** Another program often lets a device go a moment later. */
const BUSY_PAUSE_MS = 1000;

/**
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
function busyPause(signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, BUSY_PAUSE_MS);
    const abort = () => {
      clearTimeout(timer);
      resolve();
    };
    signal?.addEventListener("abort", abort, { once: true });
  });
}

/**
 * Ask for devices. What is opened after nobody waits for it any more is
 * closed at once: a device cannot be called back while a prompt is open.
 * @param {() => Promise<MediaStream>} ask
 * @param {AbortSignal} [signal]
 * @returns {Promise<MediaStream>} fails with DeviceFailed
 */
async function request(ask, signal) {
  try {
    const stream = await ask();
    if (!signal?.aborted) return stream;
    for (const track of stream.getTracks()) track.stop();
  } catch (error) {
    if (!signal?.aborted) throw new DeviceFailed(problemOf(error));
  }
  throw new DeviceFailed("abandoned");
}

/**
 * @param {MediaStreamConstraints} constraints
 * @param {AbortSignal} [signal]
 * @returns {Promise<MediaStreamTrack>}
 */
async function open(constraints, signal) {
  const ask = () => devices().getUserMedia(constraints);
  /** @type {MediaStream} */
  let stream;
  try {
    stream = await request(ask, signal);
  } catch (error) {
    if (problemOf(error) !== "busy") throw error;
    await busyPause(signal);
    if (signal?.aborted) throw new DeviceFailed("abandoned");
    stream = await request(ask, signal);
  }
  const track = stream.getTracks()[0];
  if (!track) throw new DeviceFailed("missing");
  return track;
}

const VOICE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
const PICTURE = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };

/**
 * @typedef {object} Opening
 * @property {boolean} [isExact]  this device and no other; else a device that is unplugged today is replaced by the default one
 * @property {AbortSignal} [signal]
 */

/**
 * @param {string} deviceId  empty for the default one
 * @param {Opening} [how]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openMicrophone(deviceId, how = {}) {
  return asVoice(await withFallback(deviceId, how, (device) => open({ audio: { ...VOICE, ...device } }, how.signal)));
}

/**
 * @param {string} deviceId  empty for the default one
 * @param {Opening} [how]
 * @returns {Promise<MediaStreamTrack>}
 */
export async function openCamera(deviceId, how = {}) {
  return withFallback(deviceId, how, async (device) => {
    try {
      return await open({ video: { ...PICTURE, ...device } }, how.signal);
    } catch (error) {
      if (problemOf(error) !== "unsuitable") throw error;
      // An old document camera has one size and one rate: they will do.
      return open({ video: device.deviceId ? device : true }, how.signal);
    }
  });
}

/**
 * Open both by one request: on some phones a second request silences what
 * the first one opened.
 * @param {string} microphoneId
 * @param {string} cameraId
 * @param {AbortSignal} [signal]
 * @returns {Promise<{microphone: MediaStreamTrack, camera: MediaStreamTrack}>} fails when either cannot be had
 */
export async function openTogether(microphoneId, cameraId, signal) {
  const audio = { ...VOICE, ...wanted(microphoneId) };
  const video = { ...PICTURE, ...wanted(cameraId) };
  const stream = await request(() => devices().getUserMedia({ audio, video }), signal);
  const [microphone] = stream.getAudioTracks();
  const [camera] = stream.getVideoTracks();
  if (microphone && camera) return { microphone: asVoice(microphone), camera };
  for (const track of stream.getTracks()) track.stop();
  throw new DeviceFailed("missing");
}

/** @param {MediaStreamTrack} track */
function asVoice(track) {
  track.contentHint = "speech";
  return track;
}

/** @param {string} deviceId @returns {MediaTrackConstraints} */
function wanted(deviceId) {
  return deviceId ? { deviceId: { exact: deviceId } } : {};
}

/**
 * A device remembered from last week may be unplugged today: take the default one then.
 * @param {string} deviceId
 * @param {Opening} how
 * @param {(device: MediaTrackConstraints) => Promise<MediaStreamTrack>} ask
 */
async function withFallback(deviceId, { isExact = false }, ask) {
  try {
    return await ask(wanted(deviceId));
  } catch (error) {
    const problem = problemOf(error);
    if (!deviceId || isExact || (problem !== "missing" && problem !== "unsuitable")) throw error;
    return ask({});
  }
}

/**
 * @param {AbortSignal} [signal]
 * @returns {Promise<MediaStreamTrack>} a screen or window of the user's choice
 */
export async function openScreen(signal) {
  if (!canShareScreen()) throw new DeviceFailed("insecure");
  const video = { frameRate: { ideal: 15, max: 30 } };
  const stream = await request(() => navigator.mediaDevices.getDisplayMedia({ video, audio: false }), signal);
  const [track] = stream.getVideoTracks();
  if (!track) throw new DeviceFailed("missing");
  // An X-ray or a page of text must stay sharp; frames may be dropped instead.
  track.contentHint = "detail";
  return track;
}

export function canShareScreen() {
  return Boolean(navigator.mediaDevices && "getDisplayMedia" in navigator.mediaDevices);
}

/**
 * What is plugged in. Before a permission is given, browsers tell that there
 * is something, but neither its id nor its name: such kinds are `hidden`.
 * @typedef {{microphones: MediaDeviceInfo[], cameras: MediaDeviceInfo[], speakers: MediaDeviceInfo[], hidden: Set<MediaDeviceKind>}} DeviceList
 * @returns {Promise<DeviceList>}
 */
export async function listDevices() {
  const all = (await navigator.mediaDevices?.enumerateDevices?.()) ?? [];
  /** @param {MediaDeviceKind} kind */
  const of = (kind) => all.filter((device) => device.kind === kind && device.deviceId !== "");
  const hidden = new Set(all.filter(({ deviceId }) => deviceId === "").map(({ kind }) => kind));
  return { microphones: of("audioinput"), cameras: of("videoinput"), speakers: of("audiooutput"), hidden };
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
