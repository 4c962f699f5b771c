/**
 * What this site sends: microphone, camera, content, auxiliary camera. Owns
 * the tracks, keeps the peer connection and the bridge in step with them, and
 * survives both (after a rejoin everything is attached again).
 */

import { LevelMeter, openCamera, openMicrophone, openScreen, otherCamera } from "./media.js";

/** @typedef {import("../shared/types.js").Source} Source */
/** @typedef {import("../protocol/peer.js").Peer} Peer */

/**
 * @typedef {object} SourcesObserver
 * @property {(source: Source) => void} changed
 * @property {(source: Source, isMuted: boolean) => void} muteChanged  to be told to the bridge
 * @property {(source: Source) => void} ended  the device was unplugged or the sharing ended by the browser
 */

export class Sources {
  /** @type {SourcesObserver} */ #observer;
  /** @type {Peer | null} */ #peer = null;
  /** @type {Map<Source, MediaStreamTrack>} */ #tracks = new Map();
  /** @type {Set<Source>} sources that are on (sent and heard) */ #on = new Set();
  /** @type {LevelMeter | null} */ #meter = null;
  devices = { microphone: "", camera: "", auxiliary: "" };

  /** @param {SourcesObserver} observer */
  constructor(observer) {
    this.#observer = observer;
  }

  /** @param {Source} source */
  isOn(source) {
    return this.#on.has(source);
  }

  /** @param {Source} source */
  track(source) {
    return this.#tracks.get(source) ?? null;
  }

  /** Loudness of the own microphone, 0..1, also while muted. */
  level() {
    return this.#meter?.level() ?? 0;
  }

  /**
   * Take tracks that the pre-join page already opened.
   * @param {{microphone: MediaStreamTrack | null, camera: MediaStreamTrack | null, isMicrophoneOn: boolean, isCameraOn: boolean}} start
   */
  adopt(start) {
    if (start.microphone) {
      this.#keep("microphone", start.microphone);
      if (start.isMicrophoneOn) this.#on.add("microphone");
    }
    if (start.camera) {
      this.#keep("camera", start.camera);
      if (start.isCameraOn) this.#on.add("camera");
    }
  }

  /**
   * Send through this peer connection from now on.
   * @param {Peer | null} peer
   */
  attach(peer) {
    this.#peer = peer;
    for (const source of this.#on) this.#send(source);
  }

  /** Tell the bridge every source's state: after each welcome. */
  announce() {
    for (const source of /** @type {Source[]} */ (["microphone", "camera", "content", "auxiliary"])) {
      this.#observer.muteChanged(source, !this.isOn(source));
    }
  }

  /**
   * Switch a source on; opens the device when it is not open. Fails with DeviceFailed.
   * @param {Source} source
   * @param {string} [deviceId]
   */
  async start(source, deviceId) {
    const isOtherDevice = deviceId !== undefined && source !== "content" && this.devices[source] !== deviceId;
    if (isOtherDevice) this.devices[source] = deviceId;
    if (isOtherDevice || this.#tracks.get(source)?.readyState !== "live") {
      const track = await this.#open(source);
      this.#drop(source);
      this.#keep(source, track);
    }
    this.#on.add(source);
    this.#send(source);
    this.#observer.muteChanged(source, false);
    this.#observer.changed(source);
  }

  /**
   * Switch a source off. The microphone stays open to notice talking while
   * muted; the others let their device go, so that its light goes out.
   * @param {Source} source
   */
  stop(source) {
    const wasOn = this.#on.delete(source);
    void this.#peer?.setTrack(source, null);
    if (source !== "microphone") this.#drop(source);
    if (wasOn) this.#observer.muteChanged(source, true);
    this.#observer.changed(source);
  }

  /**
   * Change the device of a source, on or off.
   * @param {"microphone" | "camera"} source
   * @param {string} deviceId
   */
  async choose(source, deviceId) {
    if (this.isOn(source)) {
      await this.start(source, deviceId);
      return;
    }
    this.devices[source] = deviceId;
    this.#drop(source);
  }

  close() {
    for (const source of [...this.#tracks.keys()]) this.#drop(source);
    this.#on.clear();
    this.#peer = null;
  }

  /** @param {Source} source */
  async #open(source) {
    if (source === "microphone") return openMicrophone(this.devices.microphone);
    if (source === "content") return openScreen();
    if (source === "camera") return openCamera(this.devices.camera);
    const camera = this.track("camera")?.getSettings().deviceId ?? this.devices.camera;
    return openCamera(this.devices.auxiliary || (await otherCamera(camera)));
  }

  /**
   * @param {Source} source
   * @param {MediaStreamTrack} track
   */
  #keep(source, track) {
    this.#tracks.set(source, track);
    track.onended = () => {
      if (this.#tracks.get(source) !== track) return;
      this.#drop(source);
      this.stop(source);
      this.#observer.ended(source);
    };
    if (source === "microphone") {
      this.#meter?.stop();
      this.#meter = new LevelMeter(track);
    }
  }

  /** @param {Source} source */
  #drop(source) {
    const track = this.#tracks.get(source);
    if (!track) return;
    this.#tracks.delete(source);
    track.onended = null;
    track.stop();
    if (source === "microphone") {
      this.#meter?.stop();
      this.#meter = null;
    }
  }

  /** @param {Source} source */
  #send(source) {
    const track = this.#tracks.get(source);
    if (track && this.#on.has(source)) void this.#peer?.setTrack(source, track);
  }
}
