/**
 * The chapters of a recording: read from its WebVTT, and shown as a list that
 * one walks through with the arrow keys.
 */

import { element } from "../shared/dom.js";
import { language } from "../shared/text/text.js";
import * as format from "./format.js";
import { bilingual, plainText } from "./vtt.js";

/** @typedef {import("./vtt.js").Cue} Cue */
/** @typedef {{start: number, end: number, title: string}} Chapter */

/**
 * @param {Cue[]} cues
 * @param {string} heading  what every chapter of a case begins with, and the page says above already
 * @returns {Chapter[]} in the order of time
 */
export function chaptersOf(cues, heading) {
  return cues
    .map(({ start, end, text }) => ({ start, end, title: titleOf(plainText(text), heading) }))
    .filter(({ title }) => title !== "")
    .sort((one, other) => one.start - other.start);
}

/** @param {string} text @param {string} heading */
function titleOf(text, heading) {
  const words = text.replace(/\s*\n\s*/g, " · ").split(" · ");
  if (words.length > 1 && words[0] === heading) words.shift();
  return words.join(" · ");
}

export class ChapterList {
  /**
   * @param {HTMLElement} holder
   * @param {(chapter: Chapter) => void} choose
   */
  constructor(holder, choose) {
    this.holder = holder;
    this.choose = choose;
    /** @type {Chapter[]} */
    this.chapters = [];
    holder.addEventListener("keydown", (event) => this.key(event));
  }

  /** @param {Chapter[]} chapters */
  open(chapters) {
    this.chapters = chapters;
    this.holder.replaceChildren(
      ...chapters.map((chapter) =>
        element(
          "li",
          {},
          element(
            "button",
            { class: "chapter", click: () => this.choose(chapter) },
            element("span", { class: "chapter-time", value: format.position(chapter.start) }),
            element("span", { class: "chapter-title", value: bilingual(chapter.title, language()) }),
          ),
        ),
      ),
    );
  }

  /** Mark the chapter of this moment. @param {number | null} position */
  show(position) {
    const current = position === null ? -1 : this.chapters.findLastIndex(({ start }) => start <= position + 0.05);
    this.buttons.forEach((button, index) => {
      if (index === current) {
        if (button.getAttribute("aria-current") === "true") return;
        button.setAttribute("aria-current", "true");
        this.reveal(button);
      } else button.removeAttribute("aria-current");
    });
  }

  /** Scroll the list, and never the page. @param {HTMLElement} button */
  reveal(button) {
    const { offsetTop, offsetHeight } = button;
    const { scrollTop, clientHeight } = this.holder;
    if (offsetTop < scrollTop || offsetTop + offsetHeight > scrollTop + clientHeight) {
      this.holder.scrollTop = offsetTop - clientHeight / 3;
    }
  }

  get buttons() {
    return [...this.holder.querySelectorAll("button")];
  }

  /** @param {number} position @param {1 | -1} direction @returns {Chapter | undefined} */
  beside(position, direction) {
    if (direction > 0) return this.chapters.find(({ start }) => start > position + 0.05);
    // Within its first seconds, back means the chapter before.
    return this.chapters.findLast(({ start }) => start < position - 2);
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const steps = /** @type {Record<string, number>} */ ({ ArrowDown: 1, ArrowUp: -1 });
    const step = steps[event.key];
    const { buttons } = this;
    const index = buttons.findIndex((button) => button === document.activeElement);
    if (step === undefined || index < 0) return;
    event.preventDefault();
    event.stopPropagation();
    buttons[index + step]?.focus();
  }
}
