/**
 * The side panel: sites, chat and cases behind tabs. Whoever opens it is put
 * into it, whoever closes it is put back where they came from.
 */

import { byId } from "../shared/dom.js";

/** @typedef {typeof PANELS[number]} PanelName */

const PANELS = /** @type {const} */ (["people", "chat", "cases"]);

/** @param {PanelName} name */
function tabOf(name) {
  return byId(`tab-${name}`, HTMLElement);
}

export class SidePanel {
  /** @type {PanelName | null} */ #shown = null;
  /** @type {HTMLElement | null} what had the focus before the panel was opened */ #cameFrom = null;
  #abort = new AbortController();
  #hooks;

  /** @param {{changed: () => void, focusChat: () => void}} hooks */
  constructor(hooks) {
    this.#hooks = hooks;
    const { signal } = this.#abort;
    for (const name of PANELS) tabOf(name).addEventListener("click", () => this.show(name), { signal });
    byId("panel-tabs", HTMLElement).addEventListener("keydown", (event) => this.#tabKey(event), { signal });
    byId("panel-close", HTMLElement).addEventListener("click", () => this.show(null), { signal });
    this.#draw();
  }

  get shown() {
    return this.#shown;
  }

  /** @param {PanelName | null} which */
  show(which) {
    if (which === this.#shown) return;
    const panel = byId("panel", HTMLElement);
    const focused = document.activeElement;
    if (this.#shown === null) this.#cameFrom = focused instanceof HTMLElement && focused !== document.body ? focused : null;
    const wasInside = panel.contains(focused) || focused === document.body;
    this.#shown = which;
    this.#draw();
    this.#hooks.changed();
    if (which === "chat") this.#hooks.focusChat();
    else if (which) tabOf(which).focus();
    else if (wasInside) this.#goBack();
  }

  #draw() {
    byId("panel", HTMLElement).hidden = this.#shown === null;
    for (const name of PANELS) {
      const isShown = name === this.#shown;
      tabOf(name).setAttribute("aria-selected", String(isShown));
      tabOf(name).tabIndex = isShown ? 0 : -1;
      byId(`panel-${name}`, HTMLElement).hidden = !isShown;
    }
  }

  #goBack() {
    const { activeElement } = document;
    if (this.#cameFrom?.isConnected && this.#cameFrom.offsetParent !== null) this.#cameFrom.focus();
    // What is not shown any more must not go on taking the keys.
    else if (activeElement instanceof HTMLElement) activeElement.blur();
    this.#cameFrom = null;
  }

  /** @param {KeyboardEvent} event */
  #tabKey(event) {
    const open = PANELS.filter((name) => !tabOf(name).hidden);
    const at = this.#shown ? open.indexOf(this.#shown) : 0;
    const next = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: open.length - 1 }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const name = open[(next + open.length) % open.length];
    if (!name) return;
    this.show(name);
    tabOf(name).focus();
  }

  close() {
    this.#abort.abort();
    for (const name of PANELS) byId(`panel-${name}`, HTMLElement).replaceChildren();
    this.#shown = null;
    this.#draw();
  }
}
