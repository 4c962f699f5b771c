/** The help dialog: every shortcut and two pieces of advice. */

import { openDialog } from "../shared/dialogs.js";
import { element } from "../shared/dom.js";

/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

/** @type {[string[], TextKey][]} */
const SHORTCUTS = [
  [["M"], "help.mic"],
  [["space"], "help.talk"],
  [["V"], "help.camera"],
  [["H"], "help.hand"],
  [["S"], "help.share"],
  [["C"], "help.chat"],
  [["P"], "help.people"],
  [["B"], "help.cases"],
  [["G"], "help.gallery"],
  [["F"], "help.fullscreen"],
  [["←", "→"], "help.pages"],
  [["?"], "help.help"],
  [["Esc"], "help.close"],
];

/** @param {string} name */
function key(name) {
  return name === "space" ? element("kbd", { text: "help.key.space" }) : element("kbd", { value: name });
}

export function openHelp() {
  const list = element("dl", { class: "shortcuts" });
  for (const [keys, text] of SHORTCUTS) {
    list.append(element("div", {}, element("dt", {}, ...keys.map(key)), element("dd", { text })));
  }
  openDialog("help.title", [list, element("p", { class: "quiet-text", text: "help.text" })]);
}
