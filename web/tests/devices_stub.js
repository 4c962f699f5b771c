/** Devices as a browser gives them, under the test's hand. */

export class Track extends EventTarget {
  readyState = "live";
  muted = false;
  contentHint = "";
  constructor(kind, deviceId) {
    super();
    this.kind = kind;
    this.deviceId = deviceId;
  }
  getSettings() {
    return { deviceId: this.deviceId };
  }
  stop() {
    this.readyState = "ended";
  }
  unplug() {
    this.readyState = "ended";
    this.dispatchEvent(new Event("ended"));
  }
  mute(isMuted) {
    this.muted = isMuted;
    this.dispatchEvent(new Event(isMuted ? "mute" : "unmute"));
  }
}

class Stream {
  constructor(tracks) {
    this.tracks = tracks;
  }
  getTracks = () => this.tracks;
  getAudioTracks = () => this.tracks.filter(({ kind }) => kind === "audio");
  getVideoTracks = () => this.tracks.filter(({ kind }) => kind === "video");
}

/** What is plugged in, and every request for it, answered when the test says so if it asks for that. */
export class Devices extends EventTarget {
  audio = ["mic-1", "mic-2"];
  video = ["cam-1", "cam-2"];
  requests = [];
  tracks = [];
  /** Errors to be thrown by the next requests, by name; null lets one through. */
  failures = [];
  isHeldBack = false;
  #held = [];

  getUserMedia = async (constraints) => {
    this.requests.push(constraints);
    if (this.isHeldBack) await new Promise((resolve) => this.#held.push(resolve));
    const failure = this.failures.shift();
    if (failure) throw new DOMException("no", failure);
    const tracks = [];
    for (const kind of ["audio", "video"]) {
      const wish = constraints[kind];
      if (!wish) continue;
      const id = wish.deviceId?.exact ?? this[kind][0];
      if (!this[kind].includes(id)) throw new DOMException("no", "OverconstrainedError");
      tracks.push(new Track(kind, id));
    }
    this.tracks.push(...tracks);
    this.opened?.(tracks);
    return new Stream(tracks);
  };

  enumerateDevices = async () => [
    ...this.audio.map((deviceId) => ({ kind: "audioinput", deviceId, label: deviceId })),
    ...this.video.map((deviceId) => ({ kind: "videoinput", deviceId, label: deviceId })),
  ];

  /** Let the requests that are held back go on. */
  async release() {
    for (const resolve of this.#held.splice(0)) resolve();
    await settled();
  }

  get live() {
    return this.tracks.filter(({ readyState }) => readyState === "live");
  }
}

/** Wait until everything that only waits for promises has happened. */
export async function settled() {
  for (let round = 0; round < 4; round++) await new Promise((resolve) => setImmediate(resolve));
}

/** Put new devices in the place of the browser's. */
export function plugIn() {
  const devices = new Devices();
  Object.defineProperty(globalThis, "navigator", { value: { mediaDevices: devices, userAgent: "test" }, configurable: true });
  globalThis.MediaStream = Stream;
  return devices;
}
