/**
 * One thing that this site may send. What its owner wishes is kept apart from
 * what is so: whoever switches changes the wish, and one loop brings the
 * device to it, however late the device opens. What is sent is never more
 * than what is wished.
 */

import { DeviceFailed, problemOf } from "./media.js";

/** @typedef {import("./media.js").Opening} Opening */

/**
 * @typedef {object} SourceOptions
 * @property {(deviceId: string, how: Opening) => Promise<MediaStreamTrack>} open
 * @property {boolean} staysOpen  switched off, the device stays open (to notice talking while muted)
 * @property {boolean} mayBeInterrupted  the system may take the device away for a while
 */

/**
 * @typedef {object} SourceObserver
 * @property {(track: MediaStreamTrack | null) => void} opened  another device is open, or none
 * @property {(track: MediaStreamTrack | null) => void} sent  this is to go out from now on
 * @property {() => void} changed
 * @property {() => void} ended  the device was unplugged, or the sharing ended by the browser
 * @property {() => void} interrupted  the system took the device, or gave it back
 */

export class Source {
  #options;
  #observer;
  #isWished = false;
  #isOn = false;
  #isInterrupted = false;
  #isReopened = false;
  #deviceId = "";
  /** @type {string | null} the choice that the open device answers; null: it answers none */ #openedFor = null;
  #isExact = false;
  /** @type {MediaStreamTrack | null} */ #track = null;
  #listening = new AbortController();
  #closing = new AbortController();
  /** @type {Promise<void> | null} */ #settling = null;

  /**
   * @param {SourceOptions} options
   * @param {SourceObserver} observer
   */
  constructor(options, observer) {
    this.#options = options;
    this.#observer = observer;
  }

  /** Whether it is sent. */
  get isOn() {
    return this.#isOn;
  }

  /** Whether its owner wants it sent: the device may still be opening. */
  get isWished() {
    return this.#isWished;
  }

  get isOpening() {
    return this.#settling !== null;
  }

  /** On, but the system has silenced the device. */
  get isInterrupted() {
    return this.#isOn && this.#isInterrupted;
  }

  get track() {
    return this.#track;
  }

  /** The id of the device that is open, else of the chosen one. */
  get deviceId() {
    return this.#track?.getSettings().deviceId ?? this.#deviceId;
  }

  /** Remember a choice of an earlier day; it may be unplugged today. @param {string} deviceId */
  prefer(deviceId) {
    this.#deviceId = deviceId;
  }

  get preferred() {
    return this.#deviceId;
  }

  /**
   * Switch on. Fails with DeviceFailed; ends well but off when it was switched off meanwhile.
   * @param {Promise<MediaStreamTrack>} [given]  a device that is being opened already
   */
  async start(given) {
    this.#isWished = true;
    await this.#settle(given);
  }

  /** Switch off, now and when the device opens later. */
  stop() {
    this.#isWished = false;
    this.#switchOff();
    if (!this.#options.staysOpen) this.#drop();
    this.#observer.changed();
  }

  /** Switch off and let the device go. */
  release() {
    this.stop();
    this.#drop();
    this.#closing.abort();
    this.#closing = new AbortController();
  }

  /**
   * Change the device. While on, the old one goes on until the new one is there. Fails with DeviceFailed.
   * @param {string} deviceId
   */
  async choose(deviceId) {
    const before = { deviceId: this.#deviceId, openedFor: this.#openedFor };
    const isOpen = this.#track?.readyState === "live" && this.#track.getSettings().deviceId === deviceId;
    this.#deviceId = deviceId;
    this.#openedFor = isOpen ? deviceId : null;
    if (isOpen) return;
    if (!this.#isWished) {
      this.#drop();
      return;
    }
    this.#isExact = true;
    try {
      await this.#settle();
    } catch (error) {
      this.#deviceId = before.deviceId;
      this.#openedFor = before.openedFor;
      throw error;
    } finally {
      this.#isExact = false;
    }
  }

  /** Whether the device died without saying so, as it may when another one is opened. */
  check() {
    if (this.#track?.readyState === "ended") this.#ended();
  }

  /** The page is looked at again: a device that is still interrupted is opened anew, once. */
  async revive() {
    if (!this.isInterrupted || this.#isReopened || this.#settling) return;
    this.#isReopened = true;
    this.#openedFor = null;
    try {
      await this.#settle();
    } catch (error) {
      // The system still has it; what was open stays, and says so.
      if (!(error instanceof DeviceFailed)) throw error;
      this.#openedFor = this.#deviceId;
    }
  }

  /** Whether the device that is open is the chosen one, and alive. */
  get #isRight() {
    return this.#track?.readyState === "live" && this.#openedFor === this.#deviceId;
  }

  /** @param {Promise<MediaStreamTrack>} [given] */
  #settle(given) {
    this.#settling ??= this.#open(given).finally(() => {
      this.#settling = null;
      this.#observer.changed();
    });
    return this.#settling;
  }

  /** @param {Promise<MediaStreamTrack>} [given] */
  async #open(given) {
    while (this.#isWished && !this.#isRight) {
      const deviceId = this.#deviceId;
      const { signal } = this.#closing;
      try {
        this.#observer.changed();
        const track = await (given ?? this.#options.open(deviceId, { isExact: this.#isExact, signal }));
        given = undefined;
        if (signal.aborted || (!this.#isWished && !this.#options.staysOpen)) track.stop();
        else this.#keep(track, deviceId);
      } catch (error) {
        if (signal.aborted || problemOf(error) === "abandoned") continue;
        if (given) {
          given = undefined;
          continue;
        }
        // A change that failed leaves what was open as it was.
        if (this.#track?.readyState !== "live") {
          this.#isWished = false;
          this.#switchOff();
        }
        throw error;
      }
    }
    // Opened for somebody who needs it no longer.
    void given?.then((track) => track.stop(), () => undefined);
    if (this.#isWished) this.#switchOn();
  }

  /**
   * @param {MediaStreamTrack} track
   * @param {string} deviceId
   */
  #keep(track, deviceId) {
    const isHeard = this.#isOn;
    this.#drop();
    this.#track = track;
    this.#openedFor = deviceId;
    this.#isInterrupted = this.#options.mayBeInterrupted && track.muted;
    if (!this.#isInterrupted) this.#isReopened = false;
    const { signal } = this.#listening;
    track.addEventListener("ended", () => this.#ended(), { signal });
    if (this.#options.mayBeInterrupted) {
      track.addEventListener("mute", () => this.#interrupt(true), { signal });
      track.addEventListener("unmute", () => this.#interrupt(false), { signal });
    }
    this.#observer.opened(track);
    // Dead on arrival.
    if (track.readyState === "ended") this.#ended();
    else if (isHeard && this.#isWished) this.#switchOn();
  }

  /** @param {boolean} isInterrupted */
  #interrupt(isInterrupted) {
    this.#isInterrupted = isInterrupted;
    if (!isInterrupted) this.#isReopened = false;
    if (this.#isOn) this.#observer.interrupted();
    this.#observer.changed();
  }

  #ended() {
    const wasWished = this.#isWished;
    this.#isWished = false;
    this.#switchOff();
    this.#drop();
    if (wasWished) this.#observer.ended();
    this.#observer.changed();
  }

  #switchOn() {
    this.#isOn = true;
    this.#observer.sent(this.#track);
    this.#observer.changed();
  }

  #switchOff() {
    if (!this.#isOn) return;
    this.#isOn = false;
    this.#observer.sent(null);
  }

  #drop() {
    const track = this.#track;
    if (!track) return;
    this.#track = null;
    this.#openedFor = null;
    this.#isInterrupted = false;
    this.#listening.abort();
    this.#listening = new AbortController();
    track.stop();
    this.#observer.opened(null);
  }
}
