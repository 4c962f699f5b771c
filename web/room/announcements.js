/**
 * What a message from the bridge is worth saying: to a screen reader, and as
 * a toast where it concerns the user directly.
 */

import { announce } from "../shared/announce.js";
import { toast } from "../shared/dialogs.js";
import { recordingText, shownState } from "./recording.js";
import { knownKey, t } from "../shared/text/text.js";

/** @typedef {import("../shared/types.js").BridgeMessage} BridgeMessage */
/** @typedef {import("../protocol/state.js").RoomState} RoomState */

/** More arrivals at once than anybody wants read out. */
const NAMES_MAX = 3;

/**
 * @param {BridgeMessage} message
 * @param {RoomState} state  as it was before the message
 * @param {{openPeople: () => void}} panel
 */
export function narrate(message, state, panel) {
  switch (message.type) {
    case "welcome":
      // Whoever comes late has to know, whatever they look at.
      if (!message.resumed) narrateWelcome(message.room.recording);
      break;
    case "recording":
      narrateRecording(message, state);
      break;
    case "roster":
      narrateRoster(message, state);
      break;
    case "stage": {
      const member = state.member(message.participant);
      if (message.mode !== "chair" || !member || message.participant === state.stage.participant) break;
      // What the speaker brings to the stage is heard; what the chair does is told, to whom it concerns above all.
      if (message.participant === state.self) toast("room.stage.self", { durationMs: 9000 });
      else announce("announce.stage", { site: member.site });
      break;
    }
    case "content": {
      const member = state.member(message.participant);
      if (member) announce("announce.content", { site: member.site });
      else if (state.content) announce("announce.contentEnded");
      break;
    }
    case "muted": {
      toast(["announce.mutedBy", { source: t(`source.${message.source}`) }], { isWarning: true });
      break;
    }
    case "floor":
      // What is given is said by a dialog.
      if (!message.granted) toast("announce.floorEnded", { durationMs: 9000 });
      break;
    case "locked":
      announce(message.locked ? "announce.locked" : "announce.unlocked");
      break;
    case "knock": {
      const known = new Set(state.waiting.map(({ participant }) => participant));
      const newcomer = message.waiting.find(({ participant }) => !known.has(participant));
      if (newcomer) {
        toast(["announce.knock", { site: newcomer.site }], {
          durationMs: 15_000,
          action: { text: "announce.admit", run: panel.openPeople },
        });
      }
      break;
    }
    case "chat":
      if (message.participant !== state.self) {
        announce("announce.chat", { site: message.site, text: message.text.slice(0, 200) });
      }
      break;
    case "error":
      narrateError(message);
      break;
    default:
      break;
  }
}

/**
 * @param {Extract<BridgeMessage, {type: "roster"}>} message
 * @param {RoomState} state
 */
function narrateRoster(message, state) {
  const joined = message.joined ?? [];
  const left = message.left ?? [];
  if (joined.length <= NAMES_MAX) for (const { site } of joined) announce("announce.joined", { site });
  if (left.length <= NAMES_MAX) {
    for (const participant of left) {
      const member = state.member(participant);
      if (member) announce("announce.left", { site: member.site });
    }
  }
  // A large room lists a member late, by `joined`, when there is something to tell of it. Eyes have the badge.
  for (const member of [...joined, ...(message.changed ?? [])]) {
    const before = state.member(member.participant);
    if (before && member.participant !== state.self && (before.signal !== false) !== (member.signal !== false)) {
      announce(member.signal === false ? "announce.noSignal" : "announce.signalBack", { site: member.site });
    }
    if (member.hand === null || (before && before.hand !== null) || member.participant === state.self) continue;
    announce("announce.hand", { site: member.site });
  }
}

/** @param {import("../shared/types.js").RecordingStatus} recording */
function narrateWelcome(recording) {
  const { problem } = recording;
  if (shownState(recording) === "recording") toast("announce.recorded", { durationMs: 9000 });
  if (problem) announce(`recording.problem.${problem}`, undefined, "urgent");
}

/**
 * @param {import("../shared/types.js").RecordingStatus} recording
 * @param {RoomState} state
 */
function narrateRecording(recording, { recording: before, mayModerate }) {
  if (recording.problem && recording.problem !== before.problem) announce(`recording.problem.${recording.problem}`, undefined, "urgent");
  const isSame = recording.state === before.state && recording.reason === before.reason && recording.case === before.case;
  if (isSame) return;
  const text = recordingText(recording);
  // The banner says it to the eyes, and this to the ears, at once.
  if (recording.state === "failed") announce("recording.problem.failed", undefined, "urgent");
  // Chair and secretary did it, and have it before their eyes.
  else if (shownState(recording) === "recording" && before.state !== "recording" && !mayModerate) toast(text);
  else if (Array.isArray(text)) announce(...text);
  else announce(text);
}

/** @param {import("../shared/types.js").ProtocolError} error */
function narrateError(error) {
  // A refused offer is the peer connection's business; it tries again.
  if (error.for === "offer" || error.for === "view") return;
  toast(errorText(error), { isWarning: true });
}

/**
 * @param {import("../shared/types.js").ProtocolError} error
 * @returns {import("../shared/text/text.js").TextKey}
 */
export function errorText(error) {
  const family = error.code.split(":")[0] ?? "";
  return knownKey(`error.${family}`, "error.unknown");
}
