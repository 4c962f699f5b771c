/** One site's small picture in the strip or the gallery. */

import { element, icon, setIcon, showTrack } from "../shared/dom.js";
import { monogram, shortSite } from "../shared/sitename.js";
import { clearText, setText } from "../shared/text/text.js";
import { StaleMark } from "./stale.js";

/** @typedef {import("../shared/types.js").Member} Member */

/**
 * Follow whether a video element shows a picture, to lift the cover under it.
 * @param {HTMLVideoElement} video
 * @param {HTMLElement} holder
 */
export function watchPicture(video, holder) {
  const update = () => holder.classList.toggle("has-picture", video.readyState >= 2 && video.videoWidth > 2);
  for (const name of ["loadeddata", "resize", "emptied", "playing"]) video.addEventListener(name, update);
}

/** A frame of the picture before may be on its way still when the bridge says that it is gone. */
const STRAGGLER_MS = 20;

/**
 * Keeps the last picture of a video from being seen under the next one's name: it is covered when the
 * bridge says that nobody is shown, and uncovered when a name and a later picture are there.
 */
export class Cover {
  #video;
  #holder;
  #coveredAt = 0;
  #turn = 0;
  #isFresh = true;
  #isNamed = true;

  /**
   * @param {HTMLVideoElement} video
   * @param {HTMLElement} holder
   */
  constructor(video, holder) {
    this.#video = video;
    this.#holder = holder;
  }

  /** Nobody is shown from now on. */
  lay() {
    if (!this.#isNamed || !("requestVideoFrameCallback" in this.#video)) return;
    this.#isNamed = this.#isFresh = false;
    this.#coveredAt = performance.now();
    this.#turn += 1;
    this.#holder.classList.remove("has-picture");
    this.#follow(this.#turn);
  }

  /** Somebody is. */
  lift() {
    if (this.#isNamed) return;
    this.#isNamed = true;
    if (this.#isFresh) this.#holder.classList.add("has-picture");
    else this.#holder.classList.remove("has-picture");
  }

  /** @param {number} turn */
  #follow(turn) {
    this.#video.requestVideoFrameCallback((now, { receiveTime }) => {
      if (turn !== this.#turn) return;
      if ((receiveTime ?? now) < this.#coveredAt + STRAGGLER_MS) {
        this.#follow(turn);
        return;
      }
      this.#isFresh = true;
      if (this.#isNamed) this.#holder.classList.add("has-picture");
    });
  }
}

/**
 * @typedef {object} TileState
 * @property {boolean} isSelf
 * @property {boolean} isSpeaking
 * @property {boolean} isDominant
 * @property {boolean} isOnStage
 * @property {boolean} isUndecodable  this browser does not decode its picture
 * @property {boolean} mayModerate
 * @property {number | null} handOrder  place in the queue of raised hands
 */

export class Tile {
  /**
   * @param {(participant: string) => void} putOnStage
   * @param {MediaStreamTrack | null} track  of the slot it shows; null for a tile without a slot
   * @param {string | null} mid
   */
  constructor(putOnStage, track, mid) {
    this.mid = mid;
    /** @type {string | null} */
    this.participant = null;
    this.video = element("video", { attributes: { playsinline: "", autoplay: "" } });
    this.video.muted = true;
    if (mid !== null) this.video.dataset.mid = mid;
    this.letters = element("span", { class: "monogram" });
    this.note = element("span", { class: "tile-note", text: "sites.undecodable", hidden: true });
    this.site = element("span", { class: "tile-site" });
    this.person = element("span", { class: "tile-person" });
    this.state = element("span", { class: "tile-mic", attributes: { role: "img" } }, icon("mic-off"));
    this.hand = element("span", { class: "tile-hand", attributes: { role: "img" } }, icon("hand"), element("span"));
    this.badge = element("span", { class: "tile-badge" });
    this.button = element(
      "button",
      {
        class: "tile-stage",
        click: () => {
          if (this.participant) putOnStage(this.participant);
        },
      },
      icon("stage"),
    );
    this.face = element(
      "div",
      { class: "tile-face" },
      element("div", { class: "tile-cover", attributes: { "aria-hidden": "true" } }, this.letters, this.note),
      this.video,
      this.button,
      this.hand,
      this.badge,
    );
    this.label = element(
      "div",
      { class: "tile-label" },
      this.state,
      element("div", { class: "tile-words" }, this.site, this.person),
    );
    this.node = element("article", { class: "tile", hidden: true }, this.face, this.label);
    watchPicture(this.video, this.node);
    this.cover = new Cover(this.video, this.node);
    this.mark = new StaleMark(this.face, "short");
    showTrack(this.video, track);
  }

  /** Whether somebody else's picture is to be seen here. */
  get showsPicture() {
    const { classList } = this.node;
    return this.mid !== null && !this.node.hidden && classList.contains("picture") && classList.contains("has-picture");
  }

  hide() {
    if (this.mid !== null) this.cover.lay();
    this.participant = null;
    this.node.hidden = true;
    delete this.video.dataset.participant;
  }

  /**
   * @param {Member} member
   * @param {TileState} state
   */
  draw(member, state) {
    this.participant = member.participant;
    this.cover.lift();
    this.node.hidden = false;
    this.node.dataset.site = member.site;
    if (!state.isSelf) this.video.dataset.participant = member.participant;
    const { classList } = this.node;
    classList.toggle("self", state.isSelf);
    classList.toggle("speaking", state.isSpeaking);
    classList.toggle("dominant", state.isDominant);
    classList.toggle("on-stage", state.isOnStage);
    classList.toggle("picture", member.camera === "on" && member.connected && !state.isUndecodable);
    const hasSignal = member.signal !== false;
    this.note.hidden = hasSignal && !state.isUndecodable;
    setText(this.note, "text", hasSignal ? "sites.undecodable" : "sites.noSignal");
    classList.toggle("away", !member.connected);
    const isMuted = member.microphone !== "on" || !hasSignal;
    this.state.classList.toggle("muted", isMuted);
    setIcon(this.state, isMuted ? "mic-off" : "mic");
    if (!hasSignal) setText(this.state, "label", "sites.noSignal");
    else if (isMuted || state.isSpeaking) setText(this.state, "label", member.microphone === "interrupted" ? "sites.interrupted" : isMuted ? "sites.muted" : "sites.speaking");
    else clearText(this.state, "label");
    this.letters.textContent = monogram(member.site);
    if (state.isSelf) setText(this.site, "text", "common.you");
    else this.site.textContent = shortSite(member.site);
    this.person.textContent = state.isSelf ? shortSite(member.site) : member.name;
    this.hand.hidden = state.handOrder === null;
    const order = this.hand.lastElementChild;
    if (order && state.handOrder !== null) {
      order.textContent = String(state.handOrder);
      setText(this.hand, "label", ["sites.hand", { order: state.handOrder }]);
    }
    this.badge.hidden = !(state.isOnStage || member.content || member.auxiliary);
    setText(this.badge, "text", !state.isOnStage ? "sites.sharing" : state.isSelf ? "sites.onStage.self" : "sites.onStage");
    this.node.title = `${member.site}, ${member.name}`;
    setText(this.node, "label", ["sites.tile", { site: member.site, name: member.name }]);
    this.button.hidden = !state.mayModerate || state.isOnStage;
    setText(this.button, "label", ["room.putOnStage", { site: member.site }]);
    setText(this.button, "title", ["room.putOnStage", { site: member.site }]);
  }
}
