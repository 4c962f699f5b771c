/**
 * The player's own seek bar: chapters and gaps on it, a picture of the place
 * under the pointer, and the keys of a slider.
 */

import { element } from "../shared/dom.js";
import { language, setText, t } from "../shared/text/text.js";
import { fileAddress } from "./api.js";
import * as format from "./format.js";
import { sheetOf, tileAt } from "./timeline.js";
import { bilingual } from "./vtt.js";

/** @typedef {import("./types.js").PackageDetail} PackageDetail */
/** @typedef {import("./player.js").Player} Player */
/** @typedef {import("./chapters.js").Chapter} Chapter */

const STEP_S = 5;
const LEAP_S = 60;

export class SeekBar {
  /**
   * @param {HTMLElement} holder
   * @param {Player} player
   */
  constructor(holder, player) {
    this.player = player;
    this.fill = element("div", { class: "seek-fill" });
    this.marks = element("div", { class: "seek-marks" });
    this.tile = element("div", { class: "seek-tile" });
    this.tip = element("p", { class: "seek-tip" });
    this.preview = element("div", { class: "seek-preview", hidden: true }, this.tile, this.tip);
    this.slider = element(
      "div",
      { id: "seek", class: "seek", label: "library.seek", attributes: { role: "slider", tabindex: "0", "aria-valuemin": "0" } },
      element("div", { class: "seek-track" }, this.fill, this.marks),
      this.preview,
    );
    holder.replaceChildren(this.slider);
    /** @type {import("./timeline.js").Sheet | null} */
    this.sheet = null;
    /** @type {Chapter[]} */
    this.chapters = [];
    this.isDragged = false;
    this.slider.addEventListener("pointerdown", (event) => this.press(event));
    this.slider.addEventListener("pointermove", (event) => this.hover(event));
    this.slider.addEventListener("pointerup", () => (this.isDragged = false));
    this.slider.addEventListener("pointercancel", () => (this.isDragged = false));
    this.slider.addEventListener("pointerleave", () => (this.preview.hidden = true));
    this.slider.addEventListener("keydown", (event) => this.key(event));
  }

  /**
   * @param {PackageDetail} detail
   * @param {Chapter[]} chapters
   */
  open(detail, chapters) {
    this.detail = detail;
    this.chapters = chapters;
    this.sheet = detail.files.includes("contact-sheet") ? sheetOf(detail.sheet) : null;
    this.tile.hidden = this.sheet === null;
    if (this.sheet) {
      this.tile.style.width = `${this.sheet.width}px`;
      this.tile.style.height = `${this.sheet.height}px`;
      this.tile.style.backgroundImage = `url("${fileAddress(detail.id, "contact-sheet")}")`;
    }
    this.drawMarks();
  }

  /** Gaps and the beginnings of chapters, where the series that is shown has them. */
  drawMarks() {
    const { timeline, series } = this.player;
    const marks = [];
    if (series === "video") {
      for (const chapter of this.chapters) {
        if (chapter.start > 0.5) marks.push(this.mark("seek-chapter", chapter.start, chapter.start));
      }
    }
    for (const gap of this.detail?.gaps ?? []) {
      if (series === "content" && gap.source !== "content" && gap.source !== "auxiliary") continue;
      const start = timeline.positionOf(gap.start_ms);
      const end = timeline.positionOf(gap.end_ms);
      if (end > start) marks.push(this.mark("seek-gap", start, end));
    }
    this.marks.replaceChildren(...marks);
  }

  /**
   * @param {string} name
   * @param {number} start
   * @param {number} end
   */
  mark(name, start, end) {
    const mark = element("span", { class: name });
    mark.style.left = `${this.share(start) * 100}%`;
    if (end > start) mark.style.width = `${(this.share(end) - this.share(start)) * 100}%`;
    return mark;
  }

  show() {
    const { position, timeline } = this.player;
    this.fill.style.width = `${this.share(position) * 100}%`;
    this.slider.setAttribute("aria-valuemax", String(Math.round(timeline.duration)));
    this.slider.setAttribute("aria-valuenow", String(Math.round(position)));
    this.slider.setAttribute(
      "aria-valuetext",
      t("library.position", { position: format.position(position), duration: format.position(timeline.duration) }),
    );
  }

  /** @param {number} position */
  share(position) {
    const { duration } = this.player.timeline;
    return duration > 0 ? Math.min(Math.max(position / duration, 0), 1) : 0;
  }

  /** @param {PointerEvent} event */
  positionAt(event) {
    const box = this.slider.getBoundingClientRect();
    const share = box.width > 0 ? (event.clientX - box.left) / box.width : 0;
    return Math.min(Math.max(share, 0), 1) * this.player.timeline.duration;
  }

  /** @param {PointerEvent} event */
  press(event) {
    if (event.button !== 0) return;
    this.isDragged = true;
    this.slider.setPointerCapture(event.pointerId);
    this.player.seek(this.positionAt(event));
  }

  /** @param {PointerEvent} event */
  hover(event) {
    const position = this.positionAt(event);
    if (this.isDragged) this.player.seek(position);
    this.showPreview(position);
  }

  /** @param {number} position */
  showPreview(position) {
    this.preview.hidden = false;
    const isSheetOfThis = this.sheet !== null && this.player.series === "video";
    this.tile.hidden = !isSheetOfThis;
    if (this.sheet && isSheetOfThis) {
      const { left, top } = tileAt(this.sheet, position);
      this.tile.style.backgroundPosition = `-${left}px -${top}px`;
    }
    const chapter = this.player.series === "video" ? this.chapters.findLast(({ start }) => start <= position) : undefined;
    const time = format.position(position);
    if (chapter) setText(this.tip, "text", ["library.preview", { time, chapter: bilingual(chapter.title, language()) }]);
    else setText(this.tip, "text", ["library.preview.time", { time }]);
    const width = this.slider.clientWidth;
    const half = this.preview.offsetWidth / 2;
    this.preview.style.left = `${Math.min(Math.max(this.share(position) * width, half), Math.max(half, width - half))}px`;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const { position, timeline } = this.player;
    /** @type {Record<string, number>} */
    const places = {
      ArrowLeft: position - STEP_S,
      ArrowDown: position - STEP_S,
      ArrowRight: position + STEP_S,
      ArrowUp: position + STEP_S,
      PageDown: position - LEAP_S,
      PageUp: position + LEAP_S,
      Home: 0,
      End: timeline.duration,
    };
    const place = places[event.key];
    if (place === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.player.seek(place);
  }
}
