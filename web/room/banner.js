/** The banner over the pictures: what is the matter with the connection, and that it is over. */

import { byId } from "../shared/dom.js";
import { setText } from "../shared/text/text.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

const BACK_MS = 3000;

export class Banner {
  /** Set by the bridge's word that it is about to stop, until it welcomes again. */
  isClosing = false;
  #wasInterrupted = false;
  #hasEverConnected = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #backTimer;

  /** @param {Conference} conference */
  draw(conference) {
    const isConnected = Boolean(conference.peer?.isConnected);
    const text = this.#trouble(conference);
    if (isConnected) this.#hasEverConnected = true;
    if (text) {
      this.#wasInterrupted = this.#wasInterrupted || text !== "banner.closing";
      clearTimeout(this.#backTimer);
      this.#backTimer = undefined;
      this.#show(text, "warning");
    } else if (this.#wasInterrupted && isConnected) {
      this.#wasInterrupted = false;
      this.#show("banner.back", "good");
      this.#backTimer = setTimeout(() => {
        this.#backTimer = undefined;
        byId("banner", HTMLElement).hidden = true;
      }, BACK_MS);
    } else if (this.#backTimer === undefined) byId("banner", HTMLElement).hidden = true;
  }

  /**
   * @param {Conference} conference
   * @returns {TextKey | null}
   */
  #trouble({ connection, peer, isMediaFailing }) {
    if (connection.state === "reconnecting" || connection.state === "connecting") {
      return peer?.isConnected ? "banner.reconnecting" : "banner.rejoining";
    }
    if (isMediaFailing) return "banner.mediaFailing";
    if (peer && !peer.isConnected && peer.negotiations > 0 && this.#hasEverConnected) return "banner.media";
    return this.isClosing ? "banner.closing" : null;
  }

  /**
   * @param {TextKey} text
   * @param {"warning" | "good"} tone
   */
  #show(text, tone) {
    const banner = byId("banner", HTMLElement);
    banner.hidden = false;
    banner.dataset.tone = tone;
    setText(banner, "text", text);
  }

  close() {
    clearTimeout(this.#backTimer);
  }
}
