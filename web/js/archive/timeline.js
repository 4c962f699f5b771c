/**
 * Where a moment of the conference is in a video of several parts, and the
 * other way round. Positions are seconds from the video's beginning. Pure.
 */

/** @typedef {import("./types.js").Part} Part */
/** @typedef {import("./types.js").Span} Span */

/** What frame rates and rounding may make of a video's length. */
const TOLERANCE_S = 1.5;

export class Timeline {
  /**
   * @param {Part[]} parts
   * @param {Span[]} recorded  the stretches that the video shows one after the other; none if unknown
   */
  constructor(parts, recorded) {
    this.parts = parts;
    /** @type {number[]} where each part begins */
    this.starts = [];
    let total = 0;
    for (const part of parts) {
      this.starts.push(total);
      total += lengthOf(part);
    }
    this.duration = total;
    const spoken = recorded.reduce((sum, span) => sum + (span.end_ms - span.start_ms) / 1000, 0);
    const isTold = recorded.length > 0 && Math.abs(spoken - total) <= TOLERANCE_S + 0.1 * parts.length;
    this.spans = isTold ? recorded : parts.map((part) => ({ start_ms: part.start_ms, end_ms: part.start_ms + lengthOf(part) * 1000 }));
  }

  /**
   * @param {number} position
   * @returns {{index: number, offset: number}} the part, and the seconds in it
   */
  locate(position) {
    let index = 0;
    while (index + 1 < this.parts.length && position >= (this.starts[index + 1] ?? Infinity)) index += 1;
    const part = this.parts[index];
    const offset = position - (this.starts[index] ?? 0);
    return { index, offset: Math.min(Math.max(offset, 0), part ? lengthOf(part) : 0) };
  }

  /** @param {number} index @param {number} offset */
  positionIn(index, offset) {
    return (this.starts[index] ?? 0) + offset;
  }

  /**
   * The place of a moment. One that was not recorded is where the recording goes on after it.
   * @param {number} at_ms
   */
  positionOf(at_ms) {
    let before = 0;
    for (const span of this.spans) {
      const length = (span.end_ms - span.start_ms) / 1000;
      if (at_ms < span.end_ms) return before + Math.max(0, at_ms - span.start_ms) / 1000;
      before += length;
    }
    return Math.min(before, this.duration);
  }

  /** @param {number} at_ms */
  holds(at_ms) {
    return this.spans.some((span) => span.start_ms <= at_ms && at_ms < span.end_ms);
  }

  /** @param {number} position @returns {number} Unix ms */
  momentAt(position) {
    let rest = Math.max(0, position) * 1000;
    for (const span of this.spans) {
      const length = span.end_ms - span.start_ms;
      if (rest < length) return span.start_ms + rest;
      rest -= length;
    }
    return this.spans.at(-1)?.end_ms ?? 0;
  }
}

/** @param {Part} part */
export function lengthOf(part) {
  return part.fps > 0 ? part.frames / part.fps : 0;
}

/**
 * @typedef {object} Sheet
 * @property {number} interval  seconds from tile to tile
 * @property {number} columns
 * @property {number} count
 * @property {number} width  of a tile in pixels
 * @property {number} height
 */

/**
 * The contact sheet's index as it lies in the package; null where it cannot be used.
 * @param {Record<string, unknown> | null} index
 * @returns {Sheet | null}
 */
export function sheetOf(index) {
  if (!index) return null;
  const interval = Number(index.interval_s);
  const columns = Number(index.columns);
  const count = Number(index.count);
  const width = Number(index.tile_width_px);
  const height = Number(index.tile_height_px);
  const isUsable = [interval, columns, count, width, height].every((value) => Number.isFinite(value) && value > 0);
  return isUsable ? { interval, columns, count, width, height } : null;
}

/**
 * @param {Sheet} sheet
 * @param {number} position
 * @returns {{left: number, top: number}} where the tile of this moment is on the sheet, in pixels
 */
export function tileAt(sheet, position) {
  const number = Math.min(Math.max(Math.floor(position / sheet.interval), 0), sheet.count - 1);
  return { left: (number % sheet.columns) * sheet.width, top: Math.floor(number / sheet.columns) * sheet.height };
}
