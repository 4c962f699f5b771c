/**
 * How old the pictures on the page are: a picture that stands still must not
 * be taken for a live one. Pure: time, frames and the bridge's word come in.
 */

/** @typedef {import("../shared/types.js").PauseReason} PauseReason */
/** @typedef {PauseReason | "own" | "unknown"} StaleReason  own: this page's media is not connected; unknown: nobody says why */
/** @typedef {{ageMs: number, reason: StaleReason}} Stale */

/**
 * What is to be seen in one slot.
 * @typedef {object} Seen
 * @property {string} picture  whose, and which
 * @property {boolean} moves  false: it may rest, as a slide does, and only what the bridge says counts
 * @property {PauseReason | null} pause
 */

/** The slowest camera that anybody uses has a picture each half a second. */
const STALE_MS = 1000;
/** A look that comes so much later than asked for: the page was kept waiting, and its pictures with it. */
const LATE_MS = 300;

export class Freshness {
  /** @type {Map<string, {picture: string, frameMs: number, pausedMs: number | null}>} by mid */ #slots = new Map();
  /** @type {number | null} */ #lookedMs = null;
  #limitMs;

  /** @param {number} [countedMs]  where frames are not told one by one, but counted so often */
  constructor(countedMs = 0) {
    this.#limitMs = STALE_MS + countedMs;
  }

  /** @param {string} mid @param {number} nowMs */
  frame(mid, nowMs) {
    const slot = this.#slots.get(mid);
    if (slot) slot.frameMs = Math.max(slot.frameMs, nowMs);
  }

  /** The page was hidden, where no frames are drawn: all pictures get their second again. */
  forget() {
    this.#slots.clear();
    this.#lookedMs = null;
  }

  /**
   * @param {Map<string, Seen>} seen  by mid, what is to be seen now
   * @param {boolean} isConnected  whether the page's media is
   * @param {number} intervalMs  how often this is called
   * @param {number} nowMs
   * @returns {Map<string, Stale>} the slots whose pictures stand still
   */
  look(seen, isConnected, intervalMs, nowMs) {
    const lateMs = this.#lookedMs === null ? 0 : nowMs - this.#lookedMs - intervalMs;
    this.#lookedMs = nowMs;
    for (const mid of [...this.#slots.keys()]) if (!seen.has(mid)) this.#slots.delete(mid);
    /** @type {Map<string, Stale>} */
    const stale = new Map();
    for (const [mid, { picture, moves, pause }] of seen) {
      let slot = this.#slots.get(mid);
      if (!slot || slot.picture !== picture) {
        slot = { picture, frameMs: nowMs, pausedMs: null };
        this.#slots.set(mid, slot);
      }
      if (lateMs > LATE_MS) slot.frameMs = Math.min(slot.frameMs + lateMs, nowMs);
      const reason = isConnected ? pause : "own";
      // Of a resting picture nobody can see when it stopped: it is as old as the word of its pause.
      slot.pausedMs = reason === null ? null : (slot.pausedMs ?? nowMs);
      const sinceMs = moves ? slot.frameMs : slot.pausedMs;
      if (sinceMs !== null && nowMs - sinceMs >= this.#limitMs) stale.set(mid, { ageMs: nowMs - sinceMs, reason: reason ?? "unknown" });
    }
    return stale;
  }
}
