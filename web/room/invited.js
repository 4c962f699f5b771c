/** The chair gives the floor: said so that it cannot be missed, with what is needed to speak at hand. */

import { problemText } from "../devices/explain.js";
import { problemOf } from "../devices/media.js";
import { openDialog } from "../shared/dialogs.js";
import { element } from "../shared/dom.js";
import { setText } from "../shared/text/text.js";

/** @typedef {import("../devices/sources.js").Sources} Sources */

/**
 * @param {Sources} sources
 * @param {{openSettings: () => void, signal: AbortSignal}} means
 */
export function openInvited(sources, { openSettings, signal }) {
  const text = element("p", { text: "invited.text" });
  const problem = element("p", { class: "warning-text", attributes: { role: "alert" }, hidden: true });
  const later = element("button", { class: "button", text: "invited.later", click: () => dialog.close() });
  const choose = element("button", { class: "button", text: "controls.settings", hidden: true, click: openSettings });
  const speak = element("button", {
    class: "button primary large",
    text: "invited.speak",
    click: async () => {
      speak.disabled = true;
      problem.hidden = true;
      try {
        await sources.start("microphone");
        if (dialog.open && text.isConnected) dialog.close();
      } catch (error) {
        setText(problem, "text", problemText(problemOf(error)));
        problem.hidden = choose.hidden = false;
        setText(speak, "text", "common.retry");
      }
      speak.disabled = false;
    },
  });
  const actions = element("div", { class: "row dialog-actions" }, later, choose, speak);
  const dialog = openDialog("invited.title", [text, problem, actions]);
  // Left, or the floor ended: nothing is offered any more.
  signal.addEventListener("abort", () => {
    if (dialog.open && text.isConnected) dialog.close();
  });
  speak.focus();
}
