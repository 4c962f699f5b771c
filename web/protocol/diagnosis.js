/**
 * What keeps the media of this page from being good, and on which side: one
 * word, so that people know what to do. Pure.
 */

/** @typedef {import("../shared/types.js").Weakness} Weakness */

/**
 * @typedef {object} Signs
 * @property {number | null} lossUp  ratio 0..1
 * @property {number | null} lossDown
 * @property {boolean} isHeldBack  the bridge pauses pictures, as this line does not bear them
 * @property {boolean} isSendingHeldBack  the browser sends less than it would, as this line does not bear it
 * @property {boolean} isRelayed  by a relay, or over TCP
 * @property {boolean} isOverloaded  the processor is too slow to encode or to decode
 * @property {boolean} isWireless
 */

const POOR_LOSS = 0.05;
/** So many measurements in a row say it, and so many that do not take it back: no word flickers. */
const SEEN_MIN = 2;
const GONE_MIN = 4;
/** A browser begins low, and says that it is held back until it has found out. */
const SENDING_SEEN_MIN = 5;
/** Of the pictures that came, so many not shown in time are too many. */
const DROPPED_SHARE = 0.2;
const FRAMES_MIN = 20;

/** The word for what is worst now. @param {Signs} signs @returns {Weakness | null} */
export function weaknessOf({ lossUp, lossDown, isHeldBack, isSendingHeldBack, isRelayed, isOverloaded, isWireless }) {
  if (isOverloaded) return "processor";
  const isDown = isHeldBack || (lossDown ?? 0) > POOR_LOSS;
  const isUp = isSendingHeldBack || (lossUp ?? 0) > POOR_LOSS;
  if (isDown || isUp) return isWireless ? "wifi" : isDown ? "down" : "up";
  return isRelayed ? "relay" : null;
}

/** The word that is said: it stays for some measurements. */
export class Diagnosis {
  /** @type {Weakness | null} */ weakness = null;
  /** @type {Weakness | null} */ #next = null;
  #seen = 0;
  #sendingSeen = 0;

  /** @param {Signs} signs @returns {boolean} whether another word is said from now on */
  take(signs) {
    this.#sendingSeen = signs.isSendingHeldBack ? this.#sendingSeen + 1 : 0;
    const next = weaknessOf({ ...signs, isSendingHeldBack: this.#sendingSeen >= SENDING_SEEN_MIN });
    this.#seen = next === this.#next ? this.#seen + 1 : 1;
    this.#next = next;
    // What the bridge has decided is so at once.
    const needed = next === null ? GONE_MIN : signs.isHeldBack ? 1 : SEEN_MIN;
    if (next === this.weakness || this.#seen < needed) return false;
    this.weakness = next;
    return true;
  }
}

/**
 * What the browser has counted since the connection began, as far as it does.
 * @typedef {object} Counts
 * @property {number} freezes
 * @property {number} frozenMs
 * @property {number} heardMs
 * @property {number} concealedMs
 * @property {number} decoded
 * @property {number} dropped
 */

/** @param {Iterable<[string, any]>} stats  an RTCStatsReport @returns {Counts} */
export function counts(stats) {
  const sum = { freezes: 0, frozenMs: 0, heardMs: 0, concealedMs: 0, decoded: 0, dropped: 0 };
  for (const [, entry] of stats) {
    if (entry.type !== "inbound-rtp") continue;
    sum.freezes += entry.freezeCount ?? 0;
    sum.frozenMs += (entry.totalFreezesDuration ?? 0) * 1000;
    sum.decoded += entry.framesDecoded ?? 0;
    sum.dropped += entry.framesDropped ?? 0;
    if (entry.kind !== "audio") continue;
    // Silence that nobody sent is made up as well, and is no loss.
    sum.heardMs += (entry.totalSamplesReceived ?? 0) / 48;
    sum.concealedMs += ((entry.concealedSamples ?? 0) - (entry.silentConcealedSamples ?? 0)) / 48;
  }
  return sum;
}

/** What has been counted since; a new connection counts anew. @param {Counts} now @param {Counts | null} before @returns {Counts} */
export function since(now, before) {
  const grown = { ...now };
  if (!before || now.heardMs < before.heardMs || now.decoded < before.decoded) return grown;
  for (const key of /** @type {(keyof Counts)[]} */ (Object.keys(grown))) grown[key] = Math.max(0, now[key] - before[key]);
  return grown;
}

/**
 * Whether the machine is too slow, from what it sends and what it shows.
 * @param {Iterable<[string, any]>} stats
 * @param {Counts} grown  since the measurement before
 */
export function isOverloaded(stats, grown) {
  const frames = grown.decoded + grown.dropped;
  if (frames >= FRAMES_MIN && grown.dropped > DROPPED_SHARE * frames) return true;
  return limitedBy(stats, "cpu");
}

/**
 * Whether something that is sent now is less than it would be, for this reason.
 * @param {Iterable<[string, any]>} stats
 * @param {"cpu" | "bandwidth"} reason
 */
export function limitedBy(stats, reason) {
  return [...stats].some(
    ([, entry]) => entry.type === "outbound-rtp" && entry.active !== false && entry.framesPerSecond > 0 && entry.qualityLimitationReason === reason,
  );
}
