/**
 * Days, lengths and sizes as people write them, in the page's language. Days
 * and hours are Vietnam's, wherever the page is read.
 */

import { language, t } from "../shared/text/text.js";

const ZONE = "Asia/Ho_Chi_Minh";

/** @returns {string} */
function locale() {
  return language() === "vi" ? "vi-VN" : "en-GB";
}

/** @param {number} at_ms */
export function day(at_ms) {
  return new Date(at_ms).toLocaleDateString(locale(), { timeZone: ZONE, day: "2-digit", month: "2-digit", year: "numeric" });
}

/** @param {number} at_ms */
export function hour(at_ms) {
  return new Date(at_ms).toLocaleTimeString(locale(), { timeZone: ZONE, hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}

/** @param {number} at_ms */
export function dayAndHour(at_ms) {
  return `${hour(at_ms)} ${day(at_ms)}`;
}

/** @param {string} date  YYYY-MM-DD */
export function plainDay(date) {
  const [year, month, number] = date.split("-");
  return `${number}/${month}/${year}`;
}

/** A length in words: "1 h 05 min", "12 min", "8 s". @param {number} ms */
export function length(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return t("unit.seconds", { value: seconds });
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return t("unit.minutes", { value: minutes });
  return t("unit.hours", { hours: Math.floor(minutes / 60), minutes: String(minutes % 60).padStart(2, "0") });
}

/** A length with its tenths, for gaps. @param {number} ms */
export function exactLength(ms) {
  if (ms >= 60_000) return length(ms);
  const value = (ms / 1000).toLocaleString(locale(), { minimumFractionDigits: 1, maximumFractionDigits: 1 });
  return t("unit.seconds", { value });
}

/** A position in a video: "0:05", "1:02:09". @param {number} seconds */
export function position(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(whole / 60) % 60;
  const hours = Math.floor(whole / 3600);
  const rest = String(whole % 60).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** @param {number} bytes */
export function size(bytes) {
  const units = ["KB", "MB", "GB", "TB"];
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const text = value.toLocaleString(locale(), { maximumFractionDigits: value < 10 ? 1 : 0 });
  return `${text}\u00A0${units[unit]}`;
}

/** @param {number} share  0 to 1 */
export function percent(share) {
  return t("unit.percent", { value: Math.floor(share * 100) });
}
