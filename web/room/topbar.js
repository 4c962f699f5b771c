/** The top bar: what this conference is, who is in it, who speaks, and the time. */

import { byId, element, icon } from "../shared/dom.js";
import { clockTime, language, setText } from "../shared/text/text.js";

/** @typedef {import("../protocol/state.js").RoomState} RoomState */

/**
 * @param {RoomState} state
 * @param {import("../protocol/wish.js").Wish} wish
 */
export function drawTopbar(state, wish) {
  const title = byId("room-title", HTMLElement);
  title.textContent = title.title = state.title;
  setText(byId("room-count", HTMLElement), "text", countText(siteCount(state)));
  byId("room-locked", HTMLElement).hidden = !state.isLocked;
  const wished = byId("wish", HTMLElement);
  wished.hidden = wish === "all";
  if (wish !== "all") setText(wished, "text", wish === "none" ? "room.wish.none" : "room.wish.less");
  drawSpeaking(state);
  const now = new Date();
  const clock = byId("clock", HTMLTimeElement);
  clock.textContent = clockTime(now);
  clock.dateTime = now.toISOString();
}

/**
 * The bridge lists only some hundred of a large room, and counts all of it.
 * @param {RoomState} state
 */
export function siteCount({ roster, count }) {
  if (count > roster.size) return count;
  return new Set([...roster.values()].map((member) => member.site)).size;
}

/** @param {number} count @returns {import("../shared/text/text.js").Text} */
export function countText(count) {
  return count === 1 ? "room.count.one" : ["room.count", { count }];
}

/** @param {RoomState} state */
function drawSpeaking(state) {
  const line = byId("speaking", HTMLElement);
  const heard = [state.dominant, ...state.voices]
    .map((participant) => state.member(participant))
    .find((member) => state.mayBeHeard(member));
  // Who spoke last and cannot be heard any more is what everybody waits for.
  const onStage = state.member(state.stage.participant);
  const lost = !heard && onStage?.signal === false ? onStage : undefined;
  line.classList.toggle("someone", Boolean(heard));
  line.classList.toggle("lost", Boolean(lost));
  const isSelf = heard?.participant === state.self;
  const key = `${heard?.participant ?? ""}/${heard?.site}/${heard?.name}/${lost?.site}/${language()}`;
  if (line.dataset.shown === key) return;
  line.dataset.shown = key;
  line.title = heard && !isSelf ? `${heard.site}, ${heard.name}` : "";
  line.replaceChildren();
  if (lost) line.append(icon("warning"), element("span", { text: "room.noSignal" }), element("strong", { value: lost.site }));
  else if (!heard) line.append(element("span", { class: "quiet-text", text: "room.silence" }));
  else if (isSelf) line.append(icon("speaker"), element("strong", { text: "room.speaking.self" }));
  else {
    line.append(
      icon("speaker"),
      element("span", { text: "room.speaking" }),
      element("strong", { value: heard.site }),
      element("span", { class: "speaking-name", value: heard.name }),
    );
  }
}
