/** One of the two large pictures: stage or content. */

import { element, icon, setIcon, showTrack } from "../shared/dom.js";
import { ASPECT } from "./layout.js";
import { monogram, shortSite } from "../shared/sitename.js";
import { StaleMark } from "./stale.js";
import { setText } from "../shared/text/text.js";
import { Cover, watchPicture } from "./tiles.js";

/** @typedef {import("../shared/types.js").Member} Member */
/** @typedef {import("../shared/text/text.js").Text} Text */

/**
 * @typedef {object} PaneContent
 * @property {Member | null} member  whose picture it is
 * @property {boolean} hasSource  the bridge says that somebody is shown in the slot
 * @property {boolean} isRemote  the slot's picture is to be seen
 * @property {MediaStreamTrack | null} local  one's own picture in its place
 * @property {boolean} isMirrored
 * @property {Text | null} cover  what to say where there is no picture
 * @property {Text | null} detail
 * @property {Text | null} badge
 * @property {boolean} isReduced  less sharp than it could be
 * @property {boolean} isSpeaking
 * @property {(() => void) | null} follow  let the stage follow the speaker again; null when that is not up to this viewer
 */

export class Pane {
  /**
   * @param {"stage" | "content"} role
   * @param {() => void} enlarge
   */
  constructor(role, enlarge) {
    this.role = role;
    this.video = element("video", { class: "remote", attributes: { playsinline: "", autoplay: "" } });
    this.local = element("video", { class: "local", attributes: { playsinline: "", autoplay: "" } });
    this.video.muted = this.local.muted = true;
    this.letters = element("span", { class: "monogram large" });
    this.coverTitle = element("p", { class: "cover-title" });
    this.coverText = element("p", { class: "cover-text" });
    this.site = element("span", { class: "pane-site" });
    this.person = element("span", { class: "pane-person" });
    this.mic = element("span", { class: "pane-mic" }, icon("mic"));
    this.badge = element("span", { class: "pane-badge" });
    this.reduced = element("span", { class: "pane-reduced", text: "room.reduced", hidden: true });
    /** @type {(() => void) | null} */
    this.follow = null;
    this.action = element(
      "button",
      { class: "button pane-action", click: () => this.follow?.(), hidden: true },
      icon("speaker"),
      element("span", { text: "room.followSpeaker" }),
    );
    this.label = element(
      "div",
      { class: "pane-label" },
      this.mic,
      element("div", { class: "pane-words" }, this.site, this.person, this.reduced),
    );
    this.enlarge = element(
      "button",
      { class: "pane-enlarge", label: `room.enlarge.${role}`, title: `room.enlarge.${role}`, click: enlarge },
      icon("fullscreen"),
    );
    this.node = element(
      "section",
      { class: `pane ${role}`, label: `room.${role}` },
      element("div", { class: "pane-cover" }, this.letters, this.coverTitle, this.coverText),
      this.video,
      this.local,
      this.label,
      this.badge,
      this.action,
      this.enlarge,
    );
    watchPicture(this.video, this.node);
    this.cover = new Cover(this.video, this.node);
    this.mark = new StaleMark(this.node, "long");
    this.video.addEventListener("dblclick", enlarge);
  }

  /**
   * @param {string} mid
   * @param {MediaStreamTrack} track
   */
  connect(mid, track) {
    this.video.dataset.mid = mid;
    this.node.classList.remove("has-picture");
    showTrack(this.video, track);
  }

  /** Nothing is shown here any more. */
  forget() {
    this.cover.lay();
  }

  /** Whether somebody else's picture is to be seen here. */
  get showsPicture() {
    return !this.node.hidden && this.node.classList.contains("remote-on") && this.node.classList.contains("has-picture");
  }

  /** Height of the picture itself, in CSS pixels: a narrow pane shows it lower than the pane is high. */
  pictureHeight() {
    const { videoWidth, videoHeight, clientWidth, clientHeight } = this.video;
    const aspect = videoWidth > 2 && videoHeight > 2 ? videoWidth / videoHeight : ASPECT;
    return Math.min(clientHeight, clientWidth / aspect);
  }

  /** @param {PaneContent} content */
  draw({ member, hasSource, isRemote, local, isMirrored, cover, detail, badge, isReduced, isSpeaking, follow }) {
    const { classList } = this.node;
    // An X-ray must never be seen under the name of another patient's hospital, nor anybody under another's.
    if (hasSource) this.cover.lift();
    else this.cover.lay();
    classList.toggle("remote-on", isRemote);
    classList.toggle("local-on", local !== null);
    classList.toggle("speaking", isSpeaking);
    this.local.classList.toggle("mirrored", isMirrored);
    showTrack(this.local, local);
    if (isRemote && member) this.video.dataset.participant = member.participant;
    else delete this.video.dataset.participant;
    this.label.hidden = member === null;
    this.letters.hidden = member === null;
    if (member) {
      this.site.textContent = this.role === "content" ? shortSite(member.site) : member.site;
      this.person.textContent = member.name;
      this.letters.textContent = monogram(member.site);
      const isMuted = member.microphone !== "on" || member.signal === false;
      this.mic.classList.toggle("muted", isMuted);
      setIcon(this.mic, isMuted ? "mic-off" : "mic");
    }
    this.coverTitle.hidden = cover === null;
    if (cover) setText(this.coverTitle, "text", cover);
    this.coverText.hidden = detail === null;
    if (detail) setText(this.coverText, "text", detail);
    this.reduced.hidden = !isReduced;
    this.follow = follow;
    this.action.hidden = follow === null;
    this.badge.hidden = badge === null || follow !== null;
    if (badge) setText(this.badge, "text", badge);
  }
}
