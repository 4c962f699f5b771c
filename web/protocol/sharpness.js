/**
 * How sharp the shared content comes and goes, from the browser's statistics. Pure.
 */

/** @typedef {{widthPx: number, heightPx: number, bytes: number, atMs: number, bps: number | null, isLimited: boolean}} Picture */

/** A picture of fewer lines than this part of the whole has lost what a radiologist looks for. */
const REDUCED = 0.9;
/** After a change of share the measurement that is there, and the next, may be of the share before. */
const FOREIGN_MEASUREMENTS = 2;

/**
 * The largest picture that goes through the line `mid`, in or out.
 * @param {Iterable<[string, any]>} stats  an RTCStatsReport
 * @param {"inbound-rtp" | "outbound-rtp"} type
 * @param {string | null | undefined} mid
 * @param {Picture | null} previous  of the measurement before
 * @returns {Picture | null}
 */
export function pictureOf(stats, type, mid, previous) {
  /** @type {Picture | null} */
  let picture = null;
  let bytes = 0;
  for (const [, entry] of stats) {
    if (entry.type !== type || entry.kind !== "video" || entry.mid !== mid) continue;
    bytes += entry.bytesSent ?? entry.bytesReceived ?? 0;
    const { frameWidth: widthPx, frameHeight: heightPx } = entry;
    if (entry.active === false || !widthPx || !heightPx || heightPx <= (picture?.heightPx ?? 0)) continue;
    const isLimited = ["bandwidth", "cpu"].includes(entry.qualityLimitationReason);
    picture = { widthPx, heightPx, bytes: 0, atMs: entry.timestamp ?? 0, bps: null, isLimited };
  }
  if (!picture) return null;
  picture.bytes = bytes;
  if (previous && picture.atMs > previous.atMs && bytes >= previous.bytes) {
    picture.bps = ((bytes - previous.bytes) * 8000) / (picture.atMs - previous.atMs);
  }
  return picture;
}

/**
 * Whether what is sent is less than what is captured.
 * @param {Picture | null} sent
 * @param {number | undefined} capturedPx  height
 */
export function isSentReduced(sent, capturedPx) {
  return sent !== null && (sent.isLimited || (capturedPx !== undefined && sent.heightPx < capturedPx * REDUCED));
}

/** Remembers how large a share has come at best: a receiver is told by nobody how large it is. */
export class Best {
  #share = "";
  #heightPx = 0;
  /** @type {Picture | null} */ #last = null;
  #ignored = 0;

  /**
   * @param {string} share  whose, and what
   * @param {Picture | null} picture
   * @param {number} shownPx  how many lines the screen has for it
   * @returns {boolean} whether it is smaller than it was, and than could be seen here
   */
  isReduced(share, picture, shownPx) {
    if (share !== this.#share) {
      this.#share = share;
      this.#heightPx = 0;
      this.#last = picture;
      this.#ignored = FOREIGN_MEASUREMENTS;
    }
    if (picture !== this.#last) this.#ignored -= 1;
    this.#last = picture;
    if (!picture || this.#ignored > 0) return false;
    this.#heightPx = Math.max(this.#heightPx, picture.heightPx);
    return picture.heightPx < REDUCED * Math.min(this.#heightPx, shownPx);
  }
}
