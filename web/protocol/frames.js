/** Whether pictures come: of the own camera, and of the slots. Pure. */

/** A camera that has given no picture for so long is not merely dark: an old one has five a second. */
const STALLED_MS = 3500;

export class Frames {
  #track = "";
  #count = -1;
  #sinceMs = 0;

  /**
   * @param {Iterable<[string, any]>} stats  an RTCStatsReport
   * @param {MediaStreamTrack | null | undefined} track  what is to be sent
   * @param {number} nowMs
   * @returns {boolean} whether the camera is live and gives none
   */
  isStalled(stats, track, nowMs) {
    // What the system has taken is told as taken.
    if (!track || track.readyState !== "live" || track.muted) {
      this.#track = "";
      return false;
    }
    const entry = [...stats].find(([, one]) => one.type === "media-source" && one.trackIdentifier === track.id)?.[1];
    // A browser that does not count them, or a sender that has not taken the track yet.
    if (typeof entry?.frames !== "number") return false;
    if (track.id !== this.#track || entry.frames !== this.#count) {
      this.#track = track.id;
      this.#count = entry.frames;
      this.#sinceMs = nowMs;
    }
    return nowMs - this.#sinceMs >= STALLED_MS;
  }
}

/**
 * @param {Iterable<[string, any]>} stats  an RTCStatsReport
 * @returns {Map<string, number>} by mid
 */
export function framesDecoded(stats) {
  /** @type {Map<string, number>} */
  const frames = new Map();
  for (const [, { type, kind, mid, framesDecoded: count }] of stats) {
    if (type === "inbound-rtp" && kind === "video" && mid && typeof count === "number") frames.set(mid, count);
  }
  return frames;
}
