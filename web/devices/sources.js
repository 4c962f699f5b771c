/**
 * What this site sends: microphone, camera, content, auxiliary camera. The
 * page before the room makes it, and the room goes on with the same devices.
 * Keeps the peer connection and the bridge in step with them, and survives
 * both (after a rejoin everything is attached again).
 */

import { openCamera, openMicrophone, openScreen, openTogether, otherCamera } from "./media.js";
import { LevelMeter } from "./sound.js";
import { Source } from "./source.js";

/** @typedef {import("../shared/types.js").Source} SourceName */

/**
 * What sends: a peer connection.
 * @typedef {{setTrack: (source: SourceName, track: MediaStreamTrack | null) => Promise<void>}} Sender
 */

/**
 * @typedef {object} SourcesObserver
 * @property {(source: SourceName) => void} changed
 * @property {(source: SourceName, isMuted: boolean) => void} muteChanged  to be told to the bridge
 * @property {(source: SourceName) => void} ended  the device was unplugged or the sharing ended by the browser
 * @property {(source: SourceName) => void} interrupted  the system took the device, or gave it back
 */

export const SOURCES = /** @type {const} */ (["microphone", "camera", "content", "auxiliary"]);

/** @type {SourcesObserver} */
const NOBODY = {
  changed: () => undefined,
  muteChanged: () => undefined,
  ended: () => undefined,
  interrupted: () => undefined,
};

export class Sources {
  /** Who is told: the page that shows the sources now. @type {SourcesObserver} */
  observer = NOBODY;
  /** @type {Sender | null} */ #peer = null;
  /** @type {Record<SourceName, Source>} */ #sources;
  /** @type {LevelMeter | null} */ #meter = null;
  #closing = new AbortController();

  /** @param {{microphone: string, camera: string, auxiliary: string}} preferred  device ids, empty for the default ones */
  constructor(preferred) {
    this.#sources = {
      microphone: this.#make("microphone", openMicrophone),
      camera: this.#make("camera", openCamera),
      content: this.#make("content", (_, { signal }) => openScreen(signal)),
      auxiliary: this.#make("auxiliary", async (deviceId, how) => {
        const { camera } = this.#sources;
        const chosen = deviceId && deviceId !== camera.deviceId ? deviceId : await otherCamera(camera.deviceId);
        // With one camera, that one: turned to the document, it is the second picture, too.
        return openCamera(chosen, { ...how, isExact: chosen !== "" });
      }),
    };
    for (const name of /** @type {const} */ (["microphone", "camera", "auxiliary"])) this.#sources[name].prefer(preferred[name]);
  }

  /**
   * @param {SourceName} name
   * @param {(deviceId: string, how: import("./media.js").Opening) => Promise<MediaStreamTrack>} open
   */
  #make(name, open) {
    const source = new Source(
      { open, staysOpen: name === "microphone", mayBeInterrupted: name !== "content" },
      {
        opened: (track) => {
          if (name === "microphone") this.#listenTo(track);
          // On some phones the second device ends the first without a word.
          if (track) for (const other of SOURCES) if (other !== name) this.#sources[other].check();
        },
        sent: (track) => {
          void this.#peer?.setTrack(name, track);
          this.#tell(name);
        },
        changed: () => this.observer.changed(name),
        ended: () => this.observer.ended(name),
        interrupted: () => this.observer.interrupted(name),
      },
    );
    return source;
  }

  /** @param {MediaStreamTrack | null} track */
  #listenTo(track) {
    this.#meter?.stop();
    this.#meter = track ? new LevelMeter(track) : null;
  }

  /** @param {SourceName} name */
  #tell(name) {
    this.observer.muteChanged(name, !this.isOn(name));
  }

  /** Whether it is sent. @param {SourceName} source */
  isOn(source) {
    return this.#sources[source].isOn;
  }

  /** Whether it is to be sent; the device may still be opening. @param {SourceName} source */
  isWished(source) {
    return this.#sources[source].isWished;
  }

  /** Whether it is on, and silenced by the system. @param {SourceName} source */
  isInterrupted(source) {
    return this.#sources[source].isInterrupted;
  }

  /** @param {SourceName} source */
  isOpening(source) {
    return this.#sources[source].isOpening;
  }

  /** @param {SourceName} source */
  track(source) {
    return this.#sources[source].track;
  }

  /** The device that is used, else the one that would be. @param {SourceName} source */
  deviceId(source) {
    return this.#sources[source].deviceId;
  }

  /** Loudness of the own microphone, 0..1, also while muted. */
  level() {
    return this.#meter?.level() ?? 0;
  }

  /** Whether the level of the microphone can be told. */
  get isMeasuring() {
    return this.#meter?.isMeasuring ?? false;
  }

  /**
   * Send through this peer connection from now on.
   * @param {Sender | null} peer
   */
  attach(peer) {
    this.#peer = peer;
    for (const name of SOURCES) if (this.isOn(name)) void peer?.setTrack(name, this.track(name));
  }

  /** Tell the bridge every source's state: after each welcome. */
  announce() {
    for (const name of SOURCES) this.#tell(name);
  }

  /**
   * Switch a source on; opens the device when it is not open. Fails with
   * DeviceFailed; ends well, but off, when it was switched off meanwhile.
   * @param {SourceName} source
   */
  async start(source) {
    if (this.#closing.signal.aborted) return;
    await this.#sources[source].start();
  }

  /**
   * Switch microphone and camera on, by one request where both can be had so.
   * @returns {Promise<Map<"microphone" | "camera", unknown>>} what failed, and how
   */
  async startBoth() {
    const { microphone, camera } = this.#sources;
    const together = openTogether(microphone.preferred, camera.preferred, this.#closing.signal);
    const opened = {
      microphone: together.then((tracks) => tracks.microphone),
      camera: together.then((tracks) => tracks.camera),
    };
    /** @type {Map<"microphone" | "camera", unknown>} */
    const failed = new Map();
    /** @param {"microphone" | "camera"} name */
    const start = async (name) => {
      try {
        await this.#sources[name].start(opened[name]);
      } catch (error) {
        failed.set(name, error);
      }
    };
    await Promise.all([start("microphone"), start("camera")]);
    return failed;
  }

  /**
   * Switch a source off. The microphone stays open to notice talking while
   * muted; the others let their device go, so that its light goes out.
   * @param {SourceName} source
   */
  stop(source) {
    this.#sources[source].stop();
  }

  /** Switch a source off and let its device go, the microphone's as well. @param {SourceName} source */
  release(source) {
    this.#sources[source].release();
  }

  /**
   * Change the device of a source, on or off. Fails with DeviceFailed, and goes on with the one before.
   * @param {"microphone" | "camera" | "auxiliary"} source
   * @param {string} deviceId
   */
  async choose(source, deviceId) {
    await this.#sources[source].choose(deviceId);
  }

  /** The page is looked at again: what the system took and did not give back is opened anew. */
  revive() {
    for (const name of SOURCES) void this.#sources[name].revive();
  }

  close() {
    this.#peer = null;
    this.observer = NOBODY;
    this.#closing.abort();
    for (const name of SOURCES) this.release(name);
  }
}
