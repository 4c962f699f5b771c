/**
 * Where the pictures go. Pure arithmetic over sizes in CSS pixels.
 */

export const ASPECT = 16 / 9;

/**
 * The grid in which `count` tiles are largest: a picture of 16:9, and its name of a fixed height below.
 * @param {number} count
 * @param {number} width
 * @param {number} height
 * @param {number} gap
 * @param {number} [label]  height of the name
 * @returns {{columns: number, rows: number, tileWidth: number, tileHeight: number}}
 */
export function bestGrid(count, width, height, gap, label = 0) {
  let best = { columns: 1, rows: Math.max(1, count), tileWidth: 0, tileHeight: 0 };
  for (let columns = 1; columns <= Math.max(1, count); columns++) {
    const rows = Math.max(1, Math.ceil(count / columns));
    const cellWidth = (width - gap * (columns - 1)) / columns;
    const cellHeight = (height - gap * (rows - 1)) / rows;
    const tileWidth = Math.floor(Math.min(cellWidth, (cellHeight - label) * ASPECT));
    if (tileWidth > best.tileWidth) {
      best = { columns, rows, tileWidth, tileHeight: Math.floor(tileWidth / ASPECT + label) };
    }
  }
  return best;
}

/**
 * How many pictures fit on one gallery page without becoming smaller than `minimumWidth`.
 * @param {number} width
 * @param {number} height
 * @param {number} gap
 * @param {number} minimumWidth
 * @param {number} limit
 * @param {number} [label]  height of the name under each
 */
export function galleryCapacity(width, height, gap, minimumWidth, limit, label = 0) {
  const columns = Math.max(1, Math.floor((width + gap) / (minimumWidth + gap)));
  const rows = Math.max(1, Math.floor((height + gap) / (minimumWidth / ASPECT + label + gap)));
  return Math.max(1, Math.min(limit, columns * rows));
}

/**
 * How many pictures of the strip's height fit in one row.
 * @param {number} width
 * @param {number} tileWidth
 * @param {number} gap
 * @param {number} limit
 */
export function stripCapacity(width, tileWidth, gap, limit) {
  return Math.max(1, Math.min(limit, Math.floor((width + gap) / (tileWidth + gap))));
}

/**
 * @param {number} total
 * @param {number} perPage
 * @param {number} page  wished, 0-based
 * @returns {{page: number, pages: number, first: number}} the page moved into what exists
 */
export function paginate(total, perPage, page) {
  const pages = Math.max(1, Math.ceil(total / Math.max(1, perPage)));
  const inside = Math.min(Math.max(0, page), pages - 1);
  return { page: inside, pages, first: inside * perPage };
}

/**
 * How the two large pictures share the room.
 * @param {boolean} hasContent
 * @param {"equal" | "stage" | "content"} focus  which one the viewer enlarged
 * @param {number} width
 * @param {number} height
 * @returns {{arrangement: "single" | "row" | "column", stageShare: number}} share of the long axis, 0..1
 */
export function twoPictures(hasContent, focus, width, height) {
  if (!hasContent) return { arrangement: "single", stageShare: 1 };
  const stageShare = focus === "stage" ? 0.75 : focus === "content" ? 0.25 : 0.5;
  // Side by side when that makes the pictures larger than one above the other.
  const sideBySide = Math.min(width / 2, height * ASPECT);
  const stacked = Math.min(width, (height / 2) * ASPECT);
  return { arrangement: sideBySide >= stacked ? "row" : "column", stageShare };
}
