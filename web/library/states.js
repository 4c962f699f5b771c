/**
 * How far a package is, in a chip, a bar and words.
 */

import { element, icon } from "../shared/dom.js";
import { setText, knownKey } from "../shared/text/text.js";
import * as format from "./format.js";

/** @typedef {import("./types.js").PackageSummary} PackageSummary */
/** @typedef {import("./types.js").PackageState} PackageState */
/** @typedef {import("../shared/text/text.js").Text} Text */

/** @type {Record<PackageState, string>} */
const ICONS = {
  ongoing: "pause",
  recording: "record",
  queued: "waiting",
  repairing: "repair",
  composing: "film",
  sealing: "seal",
  sealed: "seal",
  delivering: "send",
  delivered: "check",
  failed: "warning",
};

/** @type {ReadonlySet<string>} */
export const MOVING = new Set(["ongoing", "recording", "queued", "repairing", "composing", "sealing", "delivering"]);
/** Those that tell how far they are. @type {ReadonlySet<string>} */
const MEASURED = new Set(["repairing", "composing", "sealing", "delivering"]);

/** @param {PackageSummary} entry */
export function stateChip(entry) {
  return element(
    "span",
    { class: "state-chip", attributes: { "data-state": entry.state } },
    icon(ICONS[entry.state] ?? "waiting"),
    element("span", { text: knownKey(`library.state.${entry.state}`, "library.state.queued") }),
  );
}

/**
 * The bar of a step that is under way; null for what has none.
 * @param {PackageSummary} entry
 */
export function progressBar(entry) {
  if (!MEASURED.has(entry.state)) return null;
  const bar = element("progress", { class: "progress-bar", label: "library.progress", attributes: { max: "1" } });
  bar.value = Math.min(Math.max(entry.progress, 0), 1);
  return element("div", { class: "progress-line" }, bar, element("span", { class: "progress-words", text: progressText(entry) }));
}

/** @param {PackageSummary} entry @returns {Text} */
function progressText(entry) {
  const percent = format.percent(entry.progress);
  if (entry.remaining_s === null) return ["library.progress.done", { percent }];
  return ["library.progress.remaining", { percent, time: format.length(Math.max(1, entry.remaining_s) * 1000) }];
}

/**
 * Why a package has failed, and what happens next; null where nothing failed.
 * @param {PackageSummary} entry
 */
export function failure(entry) {
  if (!entry.error) return null;
  const reason = element("p", { class: "failure-reason" });
  const key = knownKey(`library.reason.${entry.error.code}`, "library.reason.other");
  setText(reason, "text", key === "library.reason.other" ? [key, { code: entry.error.code }] : key);
  const next = entry.next_attempt_ms;
  return element(
    "div",
    { class: "failure" },
    reason,
    next ? element("p", { class: "quiet-text", text: ["library.reason.again", { time: format.hour(next) }] }) : null,
  );
}
