/** The address of a recording and of a moment in it. Pure. */

/**
 * Which recording an address names, and the second it begins at.
 * @param {string} hash
 * @returns {{id: string | null, second: number}}
 */
export function placeIn(hash) {
  const words = new URLSearchParams(hash.slice(1));
  const second = Number(words.get("t"));
  return { id: words.get("p"), second: Number.isFinite(second) && second > 0 ? second : 0 };
}

/**
 * The address of a moment of a recording, for a colleague who has access of their own.
 * @param {string} id
 * @param {number} second
 */
export function placeOf(id, second) {
  const whole = Math.floor(second);
  return `#${new URLSearchParams({ p: id, ...(whole > 0 ? { t: String(whole) } : {}) })}`;
}
