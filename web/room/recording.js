/** Whether the room is recorded: in the top bar for everybody, and as a banner when something is wrong. */

import { byId, setIcon } from "../shared/dom.js";
import { clearText, clockTime, setText } from "../shared/text/text.js";

/** @typedef {import("../shared/types.js").RecordingStatus} RecordingStatus */
/** @typedef {import("../shared/text/text.js").Text} Text */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

const ICONS = /** @type {const} */ ({
  off: "record-off",
  full: "warning",
  waiting: "record-off",
  recording: "record",
  paused: "pause",
  stopped: "stop",
  failed: "warning",
});

/**
 * The state as people have to see it: the bridge still records by right, but a full disk takes nothing.
 * @param {RecordingStatus} recording
 * @returns {keyof typeof ICONS}
 */
export function shownState({ state, problem }) {
  return state === "recording" && problem === "disk-full" ? "full" : state;
}

/**
 * Why the open case has to be confirmed before it is recorded any further; null when it has not.
 * @param {RecordingStatus} recording
 * @returns {"case-left" | "case-resumed" | null}
 */
export function doubtOf({ state, reason }) {
  return state === "paused" && (reason === "case-left" || reason === "case-resumed") ? reason : null;
}

/** @param {RecordingStatus} recording */
function reasonToWait({ reason }) {
  return reason && reason !== "case-left" && reason !== "case-resumed" ? reason : "no-case";
}

/**
 * The state in a few words: for the top bar, and to be read out when it changes.
 * @param {RecordingStatus} recording
 * @returns {Text}
 */
export function recordingText(recording) {
  const { case: number } = recording;
  const state = shownState(recording);
  const doubt = doubtOf(recording);
  if (doubt) return [`recording.paused.${doubt}`, { case: number ?? "" }];
  if (state === "waiting") return `recording.waiting.${reasonToWait(recording)}`;
  return state === "recording" && number ? ["recording.recording.case", { case: number }] : `recording.${state}`;
}

/**
 * What the state means for chair and secretary, and what they can do.
 * @param {RecordingStatus} recording
 * @returns {TextKey}
 */
export function recordingAdvice(recording) {
  const state = shownState(recording);
  const doubt = doubtOf(recording);
  if (doubt) return `recording.advice.${doubt}`;
  return state === "waiting" ? `recording.advice.${reasonToWait(recording)}` : `recording.advice.${state}`;
}

/**
 * @param {RecordingStatus} recording
 * @param {boolean} isKnown  false while the bridge cannot be asked: what it said last may be over
 */
export function showRecording(recording, isKnown) {
  const { since_ms, code } = recording;
  const chip = byId("recording", HTMLElement);
  if (!isKnown) {
    chip.dataset.state = "unknown";
    setIcon(chip, "help");
    setText(byId("recording-text", HTMLElement), "text", "recording.unknown");
    clearText(chip, "title");
    return;
  }
  const state = shownState(recording);
  chip.dataset.state = state;
  setIcon(chip, ICONS[state]);
  setText(byId("recording-text", HTMLElement), "text", recordingText(recording));
  if (state === "recording" || state === "paused") {
    const time = clockTime(new Date(since_ms));
    setText(chip, "title", code ? ["recording.since.code", { time, code }] : ["recording.since", { time }]);
  } else clearText(chip, "title");
  showProblem(recording);
}

/** @param {RecordingStatus} recording */
function showProblem({ state, problem }) {
  const banner = byId("recording-banner", HTMLElement);
  /** @type {TextKey | null} */
  const text = state === "failed" ? "recording.problem.failed" : problem ? `recording.problem.${problem}` : null;
  banner.hidden = text === null;
  if (text === null) return;
  banner.dataset.tone = state === "failed" || problem === "disk-full" ? "bad" : "warning";
  setText(byId("recording-problem", HTMLElement), "text", text);
}
