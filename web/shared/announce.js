/**
 * What is said to a screen reader: urgent things at once, the others one after
 * the other, so that thirty arrivals do not talk over the conference.
 */

import { byId, element } from "./dom.js";
import { t } from "./text/text.js";

/** @typedef {import("./text/text.js").TextKey} TextKey */
/** @typedef {import("./text/text.js").TextValues} TextValues */

const INTERVAL_MS = 2000;
/** More than that said in one breath is not listened to; the oldest has been overtaken by then. */
const WAITING_MAX = 4;
const KEPT = 4;

/** Polite messages, at most one every two seconds: what came in between is said together. Time comes in. */
export class PoliteQueue {
  /** @type {string[]} */ #waiting = [];
  #saidAt = -INTERVAL_MS;

  /** @param {string} text */
  add(text) {
    this.#waiting = [...this.#waiting.filter((one) => one !== text), text].slice(-WAITING_MAX);
  }

  /**
   * @param {number} now  milliseconds
   * @returns {string | null} what is to be said now
   */
  take(now) {
    if (this.#waiting.length === 0 || now < this.#saidAt + INTERVAL_MS) return null;
    const text = this.#waiting.join(" ");
    this.#waiting = [];
    this.#saidAt = now;
    return text;
  }

  /**
   * @param {number} now  milliseconds
   * @returns {number | null} in how many milliseconds to ask again
   */
  dueIn(now) {
    return this.#waiting.length === 0 ? null : Math.max(0, this.#saidAt + INTERVAL_MS - now);
  }
}

const polite = new PoliteQueue();
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

function sayPolitely() {
  clearTimeout(timer);
  const text = polite.take(performance.now());
  if (text !== null) say("announcer", text);
  const dueIn = polite.dueIn(performance.now());
  if (dueIn !== null) timer = setTimeout(sayPolitely, dueIn);
}

/**
 * @param {"announcer" | "alerter"} region
 * @param {string} text
 */
function say(region, text) {
  const holder = byId(region, HTMLElement);
  holder.append(element("p", { value: text }));
  while (holder.childElementCount > KEPT) holder.firstElementChild?.remove();
}

/**
 * Say something to a screen reader.
 * @param {TextKey} key
 * @param {TextValues} [parameters]
 * @param {"polite" | "urgent"} [manner]
 */
export function announce(key, parameters, manner = "polite") {
  const text = t(key, parameters);
  if (manner === "urgent") say("alerter", text);
  else {
    polite.add(text);
    sayPolitely();
  }
}
