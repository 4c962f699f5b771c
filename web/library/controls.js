/**
 * The bar of controls below the picture, and the keys that do the same.
 */

import { byId, element, icon, setIcon } from "../shared/dom.js";
import { setText } from "../shared/text/text.js";
import * as format from "./format.js";

/** @typedef {import("./player.js").Player} Player */
/** @typedef {import("./chapters.js").Chapter} Chapter */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

const RATES = [0.75, 1, 1.25, 1.5, 2];
const SKIP_S = 10;
const STEP_S = 5;

export class Controls {
  /**
   * @param {HTMLElement} holder
   * @param {Player} player
   * @param {{goToChapter: (direction: 1 | -1) => void, showSeries: (series: "video" | "content") => void}} deeds
   */
  constructor(holder, player, deeds) {
    this.player = player;
    this.deeds = deeds;
    // They would cover the lower edge of a medical image.
    this.areCaptionsOn = false;
    this.hasCaptions = false;
    this.playButton = button("play", "library.play", () => player.toggle());
    this.time = element("p", { class: "player-time" });
    this.captionsButton = toggle("captions", "library.captions", () => this.switchCaptions());
    this.muteButton = toggle("speaker", "library.mute", () => (player.video.muted = !player.video.muted));
    this.contentButton = toggle("screen", "library.content", () => this.switchSeries());
    this.contentButton.append(element("span", { class: "button-words", text: "library.content.short" }));
    this.rate = element(
      "select",
      { class: "player-rate", label: "library.rate" },
      ...RATES.map((rate) => element("option", { value: `${rate}×`, attributes: { value: String(rate) } })),
    );
    this.rate.value = "1";
    this.rate.addEventListener("change", () => (player.video.playbackRate = Number(this.rate.value)));
    this.screenButton = button("fullscreen", "library.fullscreen", () => this.switchScreen());
    holder.replaceChildren(
      this.playButton,
      button("back", "library.back", () => player.seek(player.position - SKIP_S)),
      button("forward", "library.forward", () => player.seek(player.position + SKIP_S)),
      this.time,
      element("span", { class: "player-space" }),
      this.contentButton,
      this.captionsButton,
      this.muteButton,
      this.rate,
      this.screenButton,
    );
  }

  /** @param {boolean} hasCaptions @param {boolean} hasContent */
  open(hasCaptions, hasContent) {
    this.hasCaptions = hasCaptions;
    this.captionsButton.hidden = !hasCaptions;
    this.contentButton.hidden = !hasContent;
    this.player.showCaptions(hasCaptions && this.areCaptionsOn);
  }

  show() {
    const { player } = this;
    setIcon(this.playButton, player.isPlaying ? "pause" : "play");
    setText(this.playButton, "label", player.isPlaying ? "library.pause" : "library.play");
    this.time.textContent = `${format.position(player.position)} / ${format.position(player.timeline.duration)}`;
    press(this.captionsButton, this.areCaptionsOn);
    this.captionsButton.disabled = player.series === "content";
    press(this.contentButton, player.series === "content");
    press(this.muteButton, player.video.muted);
    setIcon(this.muteButton, player.video.muted ? "speaker-off" : "speaker");
    this.rate.value = String(player.video.playbackRate);
  }

  switchCaptions() {
    this.areCaptionsOn = !this.areCaptionsOn;
    this.player.showCaptions(this.hasCaptions && this.areCaptionsOn);
    this.show();
  }

  switchSeries() {
    this.deeds.showSeries(this.player.series === "content" ? "video" : "content");
  }

  switchScreen() {
    const frame = byId("player", HTMLElement);
    if (document.fullscreenElement) void document.exitFullscreen();
    else void frame.requestFullscreen().catch(() => undefined);
  }

  /** @param {KeyboardEvent} event @returns {boolean} whether the key was one of ours */
  key(event) {
    const { player } = this;
    /** @type {Record<string, () => void>} */
    const deeds = {
      " ": () => player.toggle(),
      k: () => player.toggle(),
      j: () => player.seek(player.position - SKIP_S),
      l: () => player.seek(player.position + SKIP_S),
      ArrowLeft: () => player.seek(player.position - STEP_S),
      ArrowRight: () => player.seek(player.position + STEP_S),
      n: () => this.deeds.goToChapter(1),
      p: () => this.deeds.goToChapter(-1),
      c: () => !this.captionsButton.hidden && this.switchCaptions(),
      v: () => !this.contentButton.hidden && this.switchSeries(),
      m: () => (player.video.muted = !player.video.muted),
      f: () => this.switchScreen(),
    };
    const deed = deeds[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!deed) return false;
    deed();
    return true;
  }
}

/**
 * @param {string} name  of the icon
 * @param {TextKey} label
 * @param {() => void} click
 */
function button(name, label, click) {
  return element("button", { class: "icon-button", label, title: label, click }, icon(name));
}

/**
 * @param {string} name
 * @param {TextKey} label
 * @param {() => void} click
 */
function toggle(name, label, click) {
  return element("button", { class: "icon-button toggle", label, title: label, click, attributes: { "aria-pressed": "false" } }, icon(name));
}

/** @param {HTMLButtonElement} node @param {boolean} isPressed */
function press(node, isPressed) {
  node.setAttribute("aria-pressed", String(isPressed));
}
