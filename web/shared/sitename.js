/** Names of sites made to fit. Pure. */

import { SITE_ABBREVIATIONS } from "./text/abbreviations.js";

/**
 * "Bệnh viện Đa khoa tỉnh Điện Biên" -> "BVĐK tỉnh Điện Biên".
 * @param {string} site
 */
export function shortSite(site) {
  const name = site.normalize("NFC");
  for (const [pattern, abbreviation] of SITE_ABBREVIATIONS) {
    if (pattern.test(name)) return name.replace(pattern, abbreviation);
  }
  return name;
}

/**
 * Two letters that tell sites apart when there is no picture:
 * "Trung tâm Y tế huyện Mường Nhé" -> "MN".
 * @param {string} site
 */
export function monogram(site) {
  const outside = site.normalize("NFC").replace(/\([^)]*\)/g, "");
  const words = outside.split(/[\s,-]+/).filter((word) => /^[\p{L}\p{N}]/u.test(word));
  const letters = words.slice(-2).map((word) => [...word][0] ?? "");
  return letters.join("").toLocaleUpperCase("vi");
}
