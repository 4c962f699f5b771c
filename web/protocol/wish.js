/** What a page wishes to receive of pictures; the choice is its user's, and remembered. Pure. */

/** @typedef {"all" | "less" | "none"} Wish  less: small pictures, to save data; none: voices only */

/** Enough to see who speaks and to read a large heading; a thumbnail needs the smallest encoding. */
const LESS_PX = { large: 360, small: 180 };

/** @param {string} stored @returns {Wish} */
export function wishOf(stored) {
  return stored === "less" || stored === "none" ? stored : "all";
}

/**
 * @param {Wish} wish
 * @param {keyof typeof LESS_PX} size  of the picture on the page: stage and content are large
 * @param {number} heightPx  what the page has room for, in device pixels
 * @returns {number} what is asked for
 */
export function wishedHeight(wish, size, heightPx) {
  if (wish === "none") return 0;
  return wish === "less" ? Math.min(heightPx, LESS_PX[size]) : heightPx;
}
