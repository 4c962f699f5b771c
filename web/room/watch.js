/** Watches the frames of all pictures on the page: which have come, and which do not come any more. */

import { Freshness } from "../protocol/freshness.js";
import { MEASURE_INTERVAL_MS } from "./conference.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../protocol/freshness.js").Seen} Seen */
/** @typedef {import("../protocol/freshness.js").Stale} Stale */

/** One frame in so long is looked at, of each small picture: thirty of them cost little. */
const LOOK_MS = 250;

export class Watch {
  /** @type {Conference} */ #conference;
  #freshness;
  #isCounting = !("requestVideoFrameCallback" in HTMLVideoElement.prototype);
  /** @type {Map<HTMLVideoElement, string>} whose next frame is asked for, and its slot */ #asked = new Map();
  /** @type {Map<string, number>} */ #counts = new Map();
  #look;

  /**
   * @param {Conference} conference
   * @param {{videos: () => [string, HTMLVideoElement, boolean][], seen: () => Map<string, Seen>, show: (stale: Map<string, Stale>, nowMs: number) => void}} page
   */
  constructor(conference, page) {
    this.#conference = conference;
    this.#freshness = new Freshness(this.#isCounting ? MEASURE_INTERVAL_MS : 0);
    this.#look = () => {
      const now = performance.now();
      conference.nameWhoIsDue(now);
      // In the background nothing is drawn, and nothing is seen.
      if (document.hidden) {
        this.#freshness.forget();
        return;
      }
      if (this.#isCounting) this.#count(now);
      else for (const [mid, video, isLarge] of page.videos()) this.#ask(mid, video, isLarge);
      page.show(this.#freshness.look(page.seen(), Boolean(conference.peer?.isConnected), LOOK_MS, now), now);
    };
    this.timer = setInterval(this.#look, LOOK_MS);
  }

  /** A name may wait for a frame now: it is asked for at once. */
  hurry() {
    this.#look();
  }

  /**
   * @param {string} mid
   * @param {HTMLVideoElement} video
   * @param {boolean} isLarge  every frame of it is looked at, so that its name changes with it
   */
  #ask(mid, video, isLarge) {
    if (this.#asked.get(video) === mid) return;
    this.#asked.set(video, mid);
    video.requestVideoFrameCallback((_, frame) => {
      if (this.#asked.get(video) !== mid) return;
      this.#asked.delete(video);
      const now = performance.now();
      this.#freshness.frame(mid, now);
      this.#conference.frameShown(mid, frame, now);
      if (isLarge || this.#conference.isFrameAwaited(mid)) this.#ask(mid, video, isLarge);
    });
  }

  /** A browser that does not tell frames counts them, every two seconds. @param {number} now */
  #count(now) {
    for (const [mid, count] of this.#conference.peer?.decoded ?? []) {
      if (count !== this.#counts.get(mid)) this.#freshness.frame(mid, now);
      this.#counts.set(mid, count);
    }
  }

  close() {
    clearInterval(this.timer);
    this.#asked.clear();
  }
}
