/** What is said over a picture that stands still, and to whom it is read out. */

import { announce } from "../shared/announce.js";
import { element, icon } from "../shared/dom.js";
import { setText, t } from "../shared/text/text.js";

/** @typedef {import("../protocol/freshness.js").Stale} Stale */
/** @typedef {import("../shared/text/text.js").Text} Text */

/** A picture that stops and goes on is not read out each time. */
const READ_AGAIN_MS = 20_000;
const MINUTES_FROM_S = 120;

/** How long after it has stopped a reason may still be on its way. */
const REASON_LATE_MS = 2000;

/** @typedef {"long" | "short"} Size  small pictures have room for few words */

/** @param {number} ageMs @param {Size} size @returns {Text} */
function ageText(ageMs, size) {
  const seconds = Math.floor(ageMs / 1000);
  if (seconds < MINUTES_FROM_S) return [`stale.${size}.seconds`, { seconds }];
  return [`stale.${size}.minutes`, { minutes: Math.floor(seconds / 60) }];
}

/** The mark over one picture: dims it, and says since when and why it stands still. */
export class StaleMark {
  #holder;
  #size;

  /**
   * @param {HTMLElement} holder  gets the mark, and the class `stale`
   * @param {Size} size
   */
  constructor(holder, size) {
    this.#holder = holder;
    this.#size = size;
    this.age = element("strong");
    this.reason = element("span");
    this.node = element("p", { class: "stale-mark", hidden: true }, icon("pause"), element("span", { class: "stale-words" }, this.age, this.reason));
    holder.append(this.node);
  }

  /** @param {Stale | null} stale */
  draw(stale) {
    this.#holder.classList.toggle("stale", stale !== null);
    this.node.hidden = stale === null;
    if (stale) {
      setText(this.age, "text", ageText(stale.ageMs, this.#size));
      setText(this.reason, "text", `stale.${this.#size}.${stale.reason}`);
    }
  }
}

/** Reads out once that a large picture has stopped, and that it goes on. */
export class StaleReader {
  #site = "";
  #readMs = -READ_AGAIN_MS;
  #isStopped = false;

  /**
   * Called again and again; what has been read out is not read out anew.
   * @param {string} site  whose picture it is
   * @param {Stale | null} stale
   * @param {number} nowMs
   */
  look(site, stale, nowMs) {
    if (site !== this.#site) {
      this.#site = site;
      this.#readMs = -READ_AGAIN_MS;
      this.#isStopped = false;
    }
    if (!stale) {
      if (this.#isStopped) announce("announce.fresh", { site });
      this.#isStopped = false;
      return;
    }
    // That a site has no signal is read out for all of it.
    const isToldElsewhere = stale.reason === "no-signal" || stale.reason === "own";
    const isEarly = stale.reason === "unknown" && stale.ageMs < REASON_LATE_MS;
    if (this.#isStopped || isToldElsewhere || isEarly || nowMs - this.#readMs < READ_AGAIN_MS) return;
    this.#isStopped = true;
    this.#readMs = nowMs;
    announce("announce.stale", { site, reason: t(`stale.long.${stale.reason}`) });
  }
}
