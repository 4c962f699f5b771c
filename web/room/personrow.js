/**
 * One site's row in the panel of sites. A row stays the same element as long
 * as the site is listed, and its buttons with it: a press that began before
 * something changed must end on the button where it began.
 */

import { element, icon, setIcon } from "../shared/dom.js";
import { clearText, setText } from "../shared/text/text.js";

/** @typedef {import("../shared/types.js").Member} Member */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

/**
 * @typedef {object} Action
 * @property {TextKey} text
 * @property {(member: Member) => boolean} isOffered
 * @property {(member: Member) => void} run
 * @property {string} [tone]
 */

/**
 * @typedef {object} RowState
 * @property {boolean} isSelf
 * @property {boolean} isSpeaking
 * @property {boolean} isUndecodable  this browser does not decode its picture
 * @property {import("../shared/types.js").Weakness | null} weakness  for chair and secretary
 * @property {boolean} isRemoving
 * @property {boolean} isOpen
 * @property {boolean} mayModerate
 * @property {number | null} order  place in the queue of raised hands, in the list of hands
 */

export class PersonRow {
  /** @type {Member} */ #member;
  /** @type {[Action, HTMLElement][]} */ #actions;

  /**
   * @param {string} key  of this row: a site may stand in two lists
   * @param {Member} member
   * @param {{actions: Action[], unfold: () => void}} deeds
   */
  constructor(key, member, { actions, unfold }) {
    this.#member = member;
    this.order = element("span", { class: "person-order" });
    this.site = element("span", { class: "person-site" });
    this.name = element("span");
    this.you = element("span", { class: "chip", text: "common.you" });
    this.role = element("span", { class: "chip" });
    this.weak = element("span", { class: "chip weak" });
    /** @param {string} name */
    const mark = (name) => element("span", { class: "mark", attributes: { role: "img" } }, icon(name));
    this.lost = mark("warning");
    this.sharing = mark("screen");
    this.camera = mark("camera-off");
    this.microphone = mark("mic-off");
    this.unfold = element("button", { class: "icon-button", click: unfold }, icon("more"));
    this.unfold.dataset.focus = `unfold-${key}`;
    this.#actions = actions.map((action) => {
      const button = element("button", {
        class: `button ${action.tone ?? ""}`,
        text: action.text,
        click: () => action.run(this.#member),
      });
      button.dataset.focus = `${action.text}-${member.participant}`;
      return [action, button];
    });
    this.actions = element("div", { class: "person-actions" }, ...this.#actions.map(([, button]) => button));
    this.node = element(
      "li",
      { class: "person" },
      this.order,
      element("div", { class: "person-words" }, this.site, element("span", { class: "person-name" }, this.name, this.you, this.role, this.weak)),
      element("div", { class: "marks" }, this.lost, this.sharing, this.camera, this.microphone),
      this.unfold,
      this.actions,
    );
    PersonRow.#mark(this.sharing, "people.state.sharing", "good");
  }

  /**
   * @param {HTMLElement} node
   * @param {TextKey} label
   * @param {string} tone
   */
  static #mark(node, label, tone) {
    node.className = `mark ${tone}`;
    setText(node, "label", label);
    setText(node, "title", label);
  }

  /**
   * @param {Member} member
   * @param {RowState} state
   */
  draw(member, state) {
    this.#member = member;
    this.order.hidden = state.order === null;
    this.order.textContent = String(state.order ?? "");
    this.site.textContent = member.site;
    this.name.textContent = member.name;
    this.you.hidden = !state.isSelf;
    this.role.classList.toggle("strong", member.role === "chair" || member.role === "secretary");
    setText(this.role, "text", `role.${member.role}`);
    const isReached = member.connected && member.signal !== false;
    this.lost.hidden = isReached;
    this.weak.hidden = state.weakness === null || !isReached;
    if (state.weakness) setText(this.weak, "text", `people.weak.${state.weakness}`);
    PersonRow.#mark(this.lost, member.connected ? "people.state.noSignal" : "people.state.disconnected", "warning");
    this.sharing.hidden = !member.content && !member.auxiliary;
    this.camera.hidden = member.camera === "on" && !state.isUndecodable;
    if (state.isUndecodable) PersonRow.#mark(this.camera, "people.state.undecodable", "warning");
    else PersonRow.#mark(this.camera, member.camera === "off" ? "people.state.camera.off" : "people.state.camera.interrupted", "");
    const isOn = member.microphone === "on" && isReached;
    setIcon(this.microphone, isOn ? "mic" : "mic-off");
    // Taken by a call, it was not its owner who muted it.
    if (member.microphone === "interrupted") PersonRow.#mark(this.microphone, "people.state.mic.interrupted", "warning");
    else PersonRow.#mark(this.microphone, isOn ? "people.state.mic.on" : "people.state.mic.off", isOn ? "good" : "bad");
    const { classList } = this.node;
    classList.toggle("away", !member.connected);
    classList.toggle("removing", state.isRemoving);
    classList.toggle("speaking", state.isSpeaking);
    this.unfold.hidden = !state.mayModerate;
    if (state.mayModerate) setText(this.unfold, "label", ["people.actions", { site: member.site }]);
    else clearText(this.unfold, "label");
    this.unfold.setAttribute("aria-expanded", String(state.isOpen));
    this.actions.hidden = !state.isOpen || !state.mayModerate;
    for (const [action, button] of this.#actions) button.hidden = !action.isOffered(member);
  }
}

/**
 * Put rows into a list in this order, and move none that is in its place.
 * @param {HTMLElement} list
 * @param {HTMLElement[]} rows
 */
export function arrange(list, rows) {
  const wanted = new Set(rows);
  for (const node of [...list.children]) if (!(node instanceof HTMLElement && wanted.has(node))) node.remove();
  let next = list.firstElementChild;
  for (const row of rows) {
    if (row === next) next = next.nextElementSibling;
    else list.insertBefore(row, next);
  }
}
