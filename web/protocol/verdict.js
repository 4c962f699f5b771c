/**
 * What follows from a refusal and from the end of a socket: the two tables of
 * docs/protocol.md as a function. Pure; a test holds it equal to the page.
 */

/**
 * retry: join again, by itself. refresh: the same, with a new token from the
 * invitation. end: say why, and leave it to the person.
 * @typedef {"retry" | "refresh" | "end"} Verdict
 */

/** A token refused at this age is not refused for its age. */
const FRESH_MS = 60_000;

/** Refusals of a `join` that a newer token may cure. */
const OF_THE_TOKEN = new Set(["invalid-token", "expired-token"]);
/** Refusals of a `join` that pass by themselves. */
const PASSING = new Set(["rate-limited", "no-more-rooms"]);
/** Ends of a socket that are meant: coming back by itself would undo them. */
const MEANT = new Set([1001, 4000, 4001, 4002, 4005, 4007]);

/**
 * @param {string | number} codeOrClose  the code of an `error` in answer to `join`, or a close code of the socket
 * @param {number} tokenAgeMs  since the token was handed out
 * @returns {Verdict}
 */
export function verdict(codeOrClose, tokenAgeMs) {
  if (typeof codeOrClose === "number") return MEANT.has(codeOrClose) ? "end" : "retry";
  if (OF_THE_TOKEN.has(codeOrClose)) return tokenAgeMs > FRESH_MS ? "refresh" : "end";
  return PASSING.has(codeOrClose) ? "retry" : "end";
}
