/**
 * Letters without marks, so that "muong nhe" finds "Mường Nhé". Pure.
 * @param {string} text
 */
export function plainLetters(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").replace(/đ/gi, "d").toLowerCase();
}
