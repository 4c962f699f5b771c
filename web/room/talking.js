/**
 * Talking: the microphone's button, push to talk, and the hint to whoever
 * talks unheard.
 */

import { problemOf } from "../devices/media.js";

/** @typedef {import("../devices/sources.js").Sources} Sources */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

/** Loudness that counts as talking, and how long of it brings the hint. */
const TALKING_LEVEL = 0.45;
const TALKING_MS = 500;
const HINT_MS = 4000;

/**
 * The microphone while a key is held. It is wished on as long as the key is
 * down, and off from the moment that it is not, or that nobody can tell any
 * more: a device that opens later changes nothing of this.
 */
export class PushToTalk {
  #sources;
  #failed;
  #isHeld = false;

  /**
   * @param {Sources} sources
   * @param {(error: unknown) => void} failed  the microphone could not be opened
   */
  constructor(sources, failed) {
    this.#sources = sources;
    this.#failed = failed;
  }

  async press() {
    // Already on, or being switched on: then the key is not what keeps it open.
    if (this.#isHeld || this.#sources.isWished("microphone")) return;
    this.#isHeld = true;
    try {
      await this.#sources.start("microphone");
    } catch (error) {
      this.#isHeld = false;
      if (problemOf(error) !== "abandoned") this.#failed(error);
    }
  }

  release() {
    if (!this.#isHeld) return;
    this.#isHeld = false;
    this.#sources.stop("microphone");
  }
}

/** Decides when to say that nobody hears whoever is talking. Time comes in. */
export class UnheardHint {
  #talkingMs = 0;
  #until = 0;

  /**
   * @param {number} now  milliseconds
   * @param {number} elapsedMs  since the last call
   * @param {{level: number, isOn: boolean, isInterrupted: boolean, mayPublish: boolean}} microphone
   * @returns {TextKey | null}
   */
  update(now, elapsedMs, { level, isOn, isInterrupted, mayPublish }) {
    if (isInterrupted) return "device.interrupted.microphone";
    const isTalkingMuted = !isOn && mayPublish && level > TALKING_LEVEL;
    this.#talkingMs = isTalkingMuted ? this.#talkingMs + elapsedMs : Math.max(0, this.#talkingMs - elapsedMs / 2);
    if (this.#talkingMs >= TALKING_MS) this.#until = now + HINT_MS;
    if (isOn || !mayPublish) this.#until = 0;
    return now < this.#until ? "controls.mutedHint" : null;
  }
}
