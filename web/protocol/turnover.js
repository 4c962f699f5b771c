/**
 * A name changes with its picture, never before. The bridge says who is shown
 * in a slot from which frame on; the page may still be showing the frames
 * before, because packets were lost, or because the machine is slow. Pure:
 * time and frames come in.
 *
 *   the frame has come          the name changes
 *   it has not after a second   nobody is named, and the picture is covered
 *   nor two seconds later       the name stands alone, until the picture comes
 */

/** @typedef {import("../shared/types.js").Shown} Shown */
/** @typedef {import("../shared/types.js").SlotsMessage} SlotsMessage */
/** @typedef {import("../shared/types.js").PauseReason} PauseReason */

/**
 * @typedef {object} Held
 * @property {Shown} shown
 * @property {PauseReason | null} pause
 * @property {number | null} begins  RTP time of its first frame; null: no frame of it is on its way
 * @property {number} sinceMs
 * @property {boolean} isCovered
 */

const HELD_MS = 1000;
const COVERED_MS = 2000;
/** Time enough to cover the picture before the next name stands over it. */
const UNANNOUNCED_MS = 200;
/** A frame of the picture before may be on its way still when the bridge says that it is gone. */
const STRAGGLER_MS = 20;

/** @param {number} rtpTime @param {number} begins  both modulo 2^32 */
function isReached(rtpTime, begins) {
  return ((rtpTime - begins) >>> 0) < 2 ** 31;
}

export class Turnover {
  /** @type {Map<string, Held>} by mid */ #held = new Map();
  /** @type {Map<string, number>} by mid: the RTP time of the frame that was told last */ #shown = new Map();

  /**
   * What of a message may be said at once; the rest is held.
   * @param {SlotsMessage} message
   * @param {Map<string, Shown | null>} slots  as they are named now
   * @param {number} nowMs
   * @returns {SlotsMessage}
   */
  hear(message, slots, nowMs) {
    /** @type {SlotsMessage & {paused: Record<string, PauseReason | null>}} */
    const sayable = { ...message, slots: {}, paused: {} };
    for (const [mid, shown] of Object.entries(message.slots)) {
      const before = slots.get(mid);
      const isAnother = Boolean(before && shown && (before.participant !== shown.participant || before.source !== shown.source));
      this.#held.delete(mid);
      if (!shown || !isAnother || message.unsupported?.includes(mid)) {
        sayable.slots[mid] = shown;
        continue;
      }
      const begins = message.begins?.[mid] ?? null;
      const onScreen = this.#shown.get(mid);
      // The word comes after the picture as often as not.
      if (begins !== null && onScreen !== undefined && isReached(onScreen, begins)) {
        sayable.slots[mid] = shown;
        continue;
      }
      if (begins === null) sayable.slots[mid] = null;
      this.#held.set(mid, { shown, pause: null, begins, sinceMs: nowMs, isCovered: begins === null });
    }
    for (const [mid, pause] of Object.entries(message.paused ?? {})) {
      const held = this.#held.get(mid);
      if (held) held.pause = pause;
      else sayable.paused[mid] = pause;
    }
    return sayable;
  }

  /** Whether every frame of this slot is waited for. @param {string} mid */
  isAwaited(mid) {
    return this.#held.has(mid);
  }

  /**
   * A frame is on the screen.
   * @param {string} mid
   * @param {{rtpTimestamp?: number, receiveTime?: number}} frame  as of `requestVideoFrameCallback`
   * @param {number} nowMs
   * @returns {SlotsMessage | null} what may be said now
   */
  frame(mid, { rtpTimestamp, receiveTime }, nowMs) {
    if (rtpTimestamp !== undefined) this.#shown.set(mid, rtpTimestamp);
    const held = this.#held.get(mid);
    if (!held || held.begins === null) return null;
    const isNew =
      rtpTimestamp === undefined ? (receiveTime ?? nowMs) >= held.sinceMs + STRAGGLER_MS : isReached(rtpTimestamp, held.begins);
    return isNew ? this.#release(mid, held) : null;
  }

  /**
   * @param {number} nowMs
   * @returns {SlotsMessage[]} what has been held for long enough
   */
  due(nowMs) {
    /** @type {SlotsMessage[]} */
    const said = [];
    for (const [mid, held] of [...this.#held]) {
      const waitedMs = nowMs - held.sinceMs;
      const limitMs = held.begins === null ? UNANNOUNCED_MS : HELD_MS + COVERED_MS;
      if (waitedMs >= limitMs) said.push(this.#release(mid, held));
      else if (!held.isCovered && waitedMs >= HELD_MS) {
        held.isCovered = true;
        said.push({ type: "slots", slots: { [mid]: null } });
      }
    }
    return said;
  }

  /** Another peer connection: nothing of the former one is awaited. */
  forget() {
    this.#held.clear();
    this.#shown.clear();
  }

  /** @param {string} mid @param {Held} held @returns {SlotsMessage} */
  #release(mid, { shown, pause }) {
    this.#held.delete(mid);
    return { type: "slots", slots: { [mid]: shown }, paused: { [mid]: pause } };
  }
}
