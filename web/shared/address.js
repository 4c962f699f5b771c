/** Where the server's parts are, whichever page's folder asks. */

const ROOT = new URL("../", import.meta.url);

/**
 * @param {string} path  from the server's root, without a slash before it
 * @returns {URL}
 */
export function address(path) {
  return new URL(path, ROOT);
}
