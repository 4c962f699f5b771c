/**
 * The bar of controls at the bottom and its keyboard: a list of what can be
 * done, drawn as buttons, the rare ones in a "more" dialog.
 */

import { openDialog } from "../shared/dialogs.js";
import { byId, element, icon, setIcon } from "../shared/dom.js";
import { setText } from "../shared/text/text.js";

/** @typedef {import("../shared/text/text.js").Text} Text */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

/**
 * @typedef {object} Control
 * @property {string} id
 * @property {"first" | "wide" | "more" | "last"} place  wide: in the bar when there is room, else under "more"
 * @property {() => {icon: string, text: TextKey, label: Text, hint?: TextKey, isPressed?: boolean, tone?: string, badge?: number, isHidden?: boolean, isDisabled?: boolean}} look
 * @property {() => void} run
 * @property {string} [code]  KeyboardEvent.code, so that Vietnamese input methods do not matter
 */

/** Keys inside these belong to them. */
const TYPING = "input, textarea, select, [contenteditable]";
const OPERATED_BY_SPACE = `${TYPING}, button, a, summary, [role=tab]`;

export class Controls {
  /** @type {Control[]} */ #controls;
  /** @type {Map<string, HTMLButtonElement>} */ #buttons = new Map();
  #abort = new AbortController();
  #isTalkKeyDown = false;
  /** @type {Element | null} the button that the pointer left the focus on */ #clicked = null;

  /**
   * @param {Control[]} controls
   * @param {{talk: (isDown: boolean) => void, turnPage: (step: number) => void, escape: () => void}} keyboard
   */
  constructor(controls, keyboard) {
    this.#controls = controls;
    const bar = byId("controls", HTMLElement);
    setText(bar, "label", "controls.label");
    bar.setAttribute("role", "toolbar");
    const more = element(
      "button",
      { class: "control more", title: "controls.more.label", click: () => this.#openMore() },
      icon("more"),
      element("span", { class: "control-text", text: "controls.more" }),
    );
    for (const control of controls) {
      if (control.place === "more") continue;
      if (control.place === "last") bar.append(more);
      const button = this.#button(control);
      this.#buttons.set(control.id, button);
      bar.append(button);
    }
    const { signal } = this.#abort;
    window.addEventListener("keydown", (event) => this.#keyDown(event, keyboard), { signal });
    const endTalk = () => {
      if (!this.#isTalkKeyDown) return;
      this.#isTalkKeyDown = false;
      keyboard.talk(false);
    };
    window.addEventListener("keyup", (event) => {
      if (event.code !== "Space" || !this.#isTalkKeyDown) return;
      // Firefox clicks a focused button when the key comes up.
      event.preventDefault();
      endTalk();
    }, { signal, capture: true });
    // With the focus elsewhere the key's coming up is never heard of.
    window.addEventListener("blur", endTalk, { signal });
    document.addEventListener("visibilitychange", endTalk, { signal });
    bar.addEventListener("click", (event) => {
      const button = event.target instanceof Element ? event.target.closest("button") : null;
      // A key that operates a button is a click without a pointer's position.
      this.#clicked = event.detail > 0 ? button : null;
    }, { signal });
    bar.addEventListener("focusout", () => (this.#clicked = null), { signal });
    this.draw();
  }

  /** @param {Control} control */
  #button(control) {
    const button = element(
      "button",
      { class: `control ${control.place} ${control.id}`, click: () => control.run() },
      icon("more"),
      element("span", { class: "control-words" }, element("span", { class: "control-text" }), element("span", { class: "control-hint" })),
      element("span", { class: "control-badge", attributes: { "aria-hidden": "true" } }),
    );
    button.dataset.control = control.id;
    return button;
  }

  draw() {
    for (const control of this.#controls) {
      const button = this.#buttons.get(control.id);
      if (button) Controls.#dress(button, control);
    }
  }

  /**
   * @param {HTMLButtonElement} button
   * @param {Control} control
   */
  static #dress(button, control) {
    const look = control.look();
    button.hidden = Boolean(look.isHidden);
    button.disabled = Boolean(look.isDisabled);
    button.dataset.tone = look.tone ?? "";
    setIcon(button, look.icon);
    const [text, hint] = /** @type {NodeListOf<HTMLElement>} */ (button.querySelectorAll(".control-text, .control-hint"));
    if (text) setText(text, "text", look.text);
    if (hint) {
      hint.hidden = !look.hint;
      if (look.hint) setText(hint, "text", look.hint);
    }
    // Its name is what is written on it, so that it can be called by that; what it does is its description.
    setText(button, "title", look.label);
    if (look.isPressed === undefined) button.removeAttribute("aria-pressed");
    else button.setAttribute("aria-pressed", String(look.isPressed));
    const badge = button.querySelector(".control-badge");
    if (badge instanceof HTMLElement) {
      badge.hidden = !look.badge;
      badge.textContent = look.badge ? String(Math.min(99, look.badge)) : "";
    }
  }

  #openMore() {
    const list = element("div", { class: "more-list" });
    for (const control of this.#controls) {
      const inBar = this.#buttons.get(control.id);
      // Shown in the bar at this width already?
      if (control.place === "last" || (inBar && inBar.offsetParent !== null)) continue;
      if (control.look().isHidden) continue;
      const button = this.#button(control);
      button.className = "control in-list";
      Controls.#dress(button, control);
      button.addEventListener("click", () => {
        if (dialog.open && list.isConnected) dialog.close();
      }, { capture: true });
      list.append(button);
    }
    const dialog = openDialog("controls.more.label", [list]);
  }

  /**
   * @param {KeyboardEvent} event
   * @param {{talk: (isDown: boolean) => void, turnPage: (step: number) => void, escape: () => void}} keyboard
   */
  #keyDown(event, keyboard) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) {
      if (event.code === "Space" && this.#isTalkKeyDown) event.preventDefault();
      return;
    }
    const target = event.target instanceof Element ? event.target : document.body;
    // In the lobby or after the end the room is hidden, and its keys mean nothing.
    if (document.querySelector("dialog[open]") || byId("room", HTMLElement).hidden) return;
    if (event.key === "Escape") {
      keyboard.escape();
      return;
    }
    if (target.closest(TYPING)) return;
    // A button that was clicked with the mouse keeps the focus, but the hand has left it.
    const isLeft = this.#clicked !== null && target === this.#clicked;
    if (event.code === "Space" && (isLeft || !target.closest(OPERATED_BY_SPACE))) {
      event.preventDefault();
      this.#isTalkKeyDown = true;
      keyboard.talk(true);
      return;
    }
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      if (!target.closest("[role=tab]")) keyboard.turnPage(event.key === "ArrowLeft" ? -1 : 1);
      return;
    }
    const control = this.#controls.find(({ code }) =>
      code === "?" ? event.key === "?" : code !== undefined && code === event.code && !event.shiftKey,
    );
    if (!control || control.look().isHidden || control.look().isDisabled) return;
    event.preventDefault();
    control.run();
  }

  close() {
    this.#abort.abort();
    byId("controls", HTMLElement).replaceChildren();
  }
}
