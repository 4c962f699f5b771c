/**
 * Where a moment of the conference is in a video of several parts, and the
 * other way round. Positions are seconds from the video's beginning. Pure.
 */

/** @typedef {import("./types.js").Part} Part */
/** @typedef {import("./types.js").Span} Span */

/** A shorter break between two recorded stretches is a plain cut; a longer one has a card of some seconds. */
const CARD_FROM_MS = 500;
/** What is out of proportion is no card: then the parts' own times are the better guide. */
const CARD_MAX_S = 10;

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
    /** @type {Stretch[]} */
    this.stretches = stretchesOf(recorded, total) ?? stretchesOfParts(parts, this.starts);
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
    const stretch = this.stretches.find(({ end_ms }) => at_ms < end_ms);
    if (!stretch) return this.duration;
    return Math.min(stretch.start + Math.max(0, at_ms - stretch.start_ms) / 1000, this.duration);
  }

  /** @param {number} at_ms */
  holds(at_ms) {
    return this.stretches.some(({ start_ms, end_ms }) => start_ms <= at_ms && at_ms < end_ms);
  }

  /**
   * The moment that is shown; on a card, that of what follows.
   * @param {number} position
   * @returns {number} Unix ms
   */
  momentAt(position) {
    for (const { start, start_ms, end_ms } of this.stretches) {
      if (position < start + (end_ms - start_ms) / 1000) return start_ms + Math.max(0, position - start) * 1000;
    }
    return this.stretches.at(-1)?.end_ms ?? 0;
  }
}

/** @typedef {Span & {start: number}} Stretch  a span, and where it begins in the video */

/**
 * The recorded stretches one after the other, with a card at each break; null where that does not fit the length.
 * @param {Span[]} recorded
 * @param {number} total
 * @returns {Stretch[] | null}
 */
function stretchesOf(recorded, total) {
  if (recorded.length === 0) return null;
  const hasCard = recorded.map((span, index) => index > 0 && span.start_ms - (recorded[index - 1]?.end_ms ?? 0) >= CARD_FROM_MS);
  const breaks = hasCard.filter(Boolean).length;
  const excess = total - recorded.reduce((sum, span) => sum + (span.end_ms - span.start_ms) / 1000, 0);
  const card = breaks > 0 ? excess / breaks : 0;
  if (card < 0 || card > CARD_MAX_S || (breaks === 0 && Math.abs(excess) > CARD_MAX_S)) return null;
  let start = 0;
  return recorded.map((span, index) => {
    if (hasCard[index]) start += card;
    const stretch = { ...span, start };
    start += (span.end_ms - span.start_ms) / 1000;
    return stretch;
  });
}

/**
 * @param {Part[]} parts
 * @param {number[]} starts
 * @returns {Stretch[]}
 */
function stretchesOfParts(parts, starts) {
  return parts.map((part, index) => ({
    start_ms: part.start_ms,
    end_ms: part.start_ms + lengthOf(part) * 1000,
    start: starts[index] ?? 0,
  }));
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
