/**
 * The room page: ties pictures, controls, panels and words to one conference.
 */

import { narrate } from "./announcements.js";
import { Chat } from "./chat.js";
import { controlList } from "./controllist.js";
import { Controls } from "./controls.js";
import { openDeviceSettings } from "../devices/devices.js";
import { Cases } from "./cases.js";
import { announce, closeDialog, confirm, toast } from "../shared/dialogs.js";
import { byId, element, icon } from "../shared/dom.js";
import { problemText } from "../devices/explain.js";
import { problemOf } from "../devices/media.js";
import { openInvited } from "./invited.js";
import { Moderation } from "./moderation.js";
import { Pictures } from "./pictures.js";
import { showRecording } from "./recording.js";
import { loadSettings, saveSettings } from "../shared/settings.js";
import { clockTime, language, onLanguage, setText } from "../shared/text/text.js";
import { PushToTalk, UnheardHint } from "./talking.js";
import { openTransport, showTransport } from "./transport.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/types.js").BridgeMessage} BridgeMessage */
/** @typedef {import("../shared/types.js").Source} Source */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */
/** @typedef {typeof PANELS[number]} Panel */

const PANELS = /** @type {const} */ (["people", "chat", "cases"]);
const LEVEL_INTERVAL_MS = 100;
const BACK_MS = 3000;

export class Room {
  /** @type {Conference} */ #conference;
  #isDrawing = false;
  /** @type {Panel | null} */ #panel = null;
  #readChat = 0;
  #floor = new AbortController();
  #hint = new UnheardHint();
  /** @type {() => void} the device dialog, if it is open, shows what is used now */ #refillSettings = () => undefined;
  #isClosing = false;
  #wasInterrupted = false;
  #hasEverConnected = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #backTimer;
  #abort = new AbortController();
  /** @type {any} */ #wakeLock = null;

  /** @param {Conference} conference */
  constructor(conference) {
    this.#conference = conference;
    const changed = () => this.changed();
    this.pictures = new Pictures(conference, { speakerId: loadSettings().speaker, changed });
    this.people = new Moderation(conference, byId("panel-people", HTMLElement));
    this.chat = new Chat(conference, byId("panel-chat", HTMLElement));
    this.cases = new Cases(conference, byId("panel-cases", HTMLElement));
    const talk = new PushToTalk(conference.sources, (error) => this.sourceFailed("microphone", error));
    this.controls = new Controls(controlList(this), {
      talk: (isDown) => {
        if (!isDown) talk.release();
        else if (conference.state.mayPublish) void talk.press();
      },
      turnPage: (step) => this.pictures.turnPage(step),
      escape: () => this.showPanel(null),
    });
    this.timer = setInterval(() => this.#listen(), LEVEL_INTERVAL_MS);
    const { signal } = this.#abort;
    for (const name of PANELS) byId(`tab-${name}`, HTMLElement).addEventListener("click", () => this.showPanel(name), { signal });
    byId("panel-close", HTMLElement).addEventListener("click", () => this.showPanel(null), { signal });
    byId("sound", HTMLElement).addEventListener("click", () => this.pictures.playSound(), { signal });
    byId("transport", HTMLElement).addEventListener("click", () => openTransport(conference), { signal });
    document.addEventListener("fullscreenchange", changed, { signal });
    document.addEventListener("visibilitychange", () => void this.#stayAwake(), { signal });
    signal.addEventListener("abort", onLanguage(changed));
    this.showPanel(null);
    void this.#stayAwake();
    this.changed();
  }

  get conference() {
    return this.#conference;
  }

  get panel() {
    return this.#panel;
  }

  get unread() {
    return Math.max(0, this.#conference.state.chat.length - this.#readChat);
  }

  /** A wall screen must not go dark in the middle of a case. */
  async #stayAwake() {
    if (document.hidden || !("wakeLock" in navigator)) return;
    try {
      const lock = await navigator.wakeLock.request("screen");
      // Left while it was asked for.
      if (this.#abort.signal.aborted) await lock.release();
      else this.#wakeLock = lock;
    } catch (error) {
      // Not allowed on battery or by policy: the screen saver is then the machine's own choice.
      if (!(error instanceof DOMException)) throw error;
    }
  }

  /** @param {BridgeMessage} message before it changes the state */
  hear(message) {
    narrate(message, this.#conference.state, {
      openPeople: () => this.showPanel("people"),
      isChatOpen: this.#panel === "chat",
    });
    if (message.type === "closing") this.#isClosing = true;
    if (message.type === "floor") this.#floorChanged(message.granted);
    if (message.type === "welcome") {
      const others = message.link_in_use ?? 0;
      if (others > 0 && !message.resumed) toast(["elsewhere.devices", { count: others }], { isWarning: true, durationMs: 15_000 });
      this.#isClosing = false;
      this.#readChat = message.chat.length;
    }
  }

  /** @param {boolean} isGranted */
  #floorChanged(isGranted) {
    this.#floor.abort();
    if (!isGranted) return;
    this.#floor = new AbortController();
    const { sources } = this.#conference;
    openInvited(sources, { openSettings: () => this.openSettings(), signal: this.#floor.signal });
  }

  /** Something changed: draw once, with the next frame. */
  changed() {
    if (this.#isDrawing || this.#abort.signal.aborted) return;
    this.#isDrawing = true;
    const draw = () => {
      this.#isDrawing = false;
      if (!this.#abort.signal.aborted) this.#draw();
    };
    // A page in the background gets no frames, but its roster must not go stale.
    if (document.hidden) setTimeout(draw, LEVEL_INTERVAL_MS);
    else requestAnimationFrame(draw);
  }

  #draw() {
    const { state } = this.#conference;
    byId("room-title", HTMLElement).textContent = state.title;
    const sites = new Set([...state.roster.values()].map((member) => member.site)).size;
    setText(byId("room-count", HTMLElement), "text", ["room.count", { count: sites }]);
    byId("room-locked", HTMLElement).hidden = !state.isLocked;
    byId("tab-cases", HTMLElement).hidden = !state.mayModerate;
    showRecording(state.recording);
    this.#drawSpeaking();
    this.#drawBanner();
    showTransport(this.#conference);
    this.pictures.draw();
    if (this.#panel === "people") this.people.draw();
    if (this.#panel === "cases") this.cases.draw();
    if (this.#panel === "chat") {
      this.chat.draw();
      this.#readChat = state.chat.length;
    }
    const bar = byId("controls", HTMLElement);
    bar.dataset.microphone = !state.mayPublish ? "none" : this.#conference.sources.isOn("microphone") ? "on" : "off";
    this.controls.draw();
    const now = new Date();
    const clock = byId("clock", HTMLTimeElement);
    clock.textContent = clockTime(now);
    clock.dateTime = now.toISOString();
  }

  #drawSpeaking() {
    const { state } = this.#conference;
    const line = byId("speaking", HTMLElement);
    const heard = [state.dominant, ...state.voices]
      .map((participant) => state.member(participant))
      .find((member) => member && member.microphone === "on");
    line.classList.toggle("someone", Boolean(heard));
    const isSelf = heard?.participant === state.self;
    const key = `${heard?.participant ?? ""}/${heard?.site}/${heard?.name}/${language()}`;
    if (line.dataset.shown === key) return;
    line.dataset.shown = key;
    line.replaceChildren();
    if (!heard) line.append(element("span", { class: "quiet-text", text: "room.silence" }));
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

  #drawBanner() {
    const { connection, peer } = this.#conference;
    const banner = byId("banner", HTMLElement);
    /** @type {TextKey | null} */
    let text = null;
    if (connection.state === "reconnecting" || connection.state === "connecting") {
      text = peer?.isConnected ? "banner.reconnecting" : "banner.rejoining";
    } else if (this.#conference.isMediaFailing) {
      text = "banner.mediaFailing";
    } else if (peer && !peer.isConnected && peer.negotiations > 0 && this.#hasEverConnected) {
      text = "banner.media";
    } else if (this.#isClosing) text = "banner.closing";
    if (peer?.isConnected) this.#hasEverConnected = true;
    if (text) {
      this.#wasInterrupted = this.#wasInterrupted || text !== "banner.closing";
      clearTimeout(this.#backTimer);
      this.#backTimer = undefined;
      banner.hidden = false;
      banner.dataset.tone = "warning";
      setText(banner, "text", text);
    } else if (this.#wasInterrupted && peer?.isConnected) {
      this.#wasInterrupted = false;
      banner.hidden = false;
      banner.dataset.tone = "good";
      setText(banner, "text", "banner.back");
      this.#backTimer = setTimeout(() => {
        this.#backTimer = undefined;
        banner.hidden = true;
      }, BACK_MS);
    } else if (this.#backTimer === undefined) banner.hidden = true;
  }

  /** Level of the own microphone: the bars of the button, and the hint to whoever talks while muted. */
  #listen() {
    const { sources, state } = this.#conference;
    const level = sources.level();
    const isOn = sources.isOn("microphone");
    byId("controls", HTMLElement).style.setProperty("--level", isOn ? level.toFixed(2) : "0");
    const hint = byId("muted-hint", HTMLElement);
    const text = this.#hint.update(performance.now(), LEVEL_INTERVAL_MS, {
      level,
      isOn,
      isInterrupted: sources.isInterrupted("microphone"),
      mayPublish: state.mayPublish,
    });
    if (text && (hint.hidden || hint.dataset.text !== text)) setText(hint, "text", text);
    hint.hidden = text === null;
    const block = byId("sound", HTMLElement);
    const { isSoundBlocked } = this.pictures;
    if (isSoundBlocked && block.hidden) announce("room.play", undefined, "urgent");
    block.hidden = !isSoundBlocked;
  }

  /** @param {Source} source */
  async toggleSource(source) {
    const { sources, state } = this.#conference;
    if (!state.mayPublish) {
      toast("controls.notAllowed");
      return;
    }
    // A device that is still opening is switched off as well.
    if (sources.isWished(source)) {
      sources.stop(source);
    } else {
      try {
        await sources.start(source);
      } catch (error) {
        this.sourceFailed(source, error);
        return;
      }
    }
    if (source === "microphone") announce(sources.isOn(source) ? "announce.unmuted" : "announce.muted", undefined, "urgent");
    this.changed();
  }

  /**
   * @param {Source} source
   * @param {unknown} error
   */
  sourceFailed(source, error) {
    const problem = problemOf(error);
    // Closing the browser's own picker is not a failure, nor is leaving.
    if ((source === "content" && problem === "denied") || problem === "abandoned") return;
    toast(`device.problem.${source}`, { isWarning: true });
    toast(problemText(problem), { isWarning: true, durationMs: 9000 });
  }

  /** @param {Source} source whose device went away by itself */
  sourceEnded(source) {
    toast(`device.ended.${source}`, { isWarning: source !== "content" });
    this.changed();
  }

  /** @param {Source} source that the system took, or gave back */
  sourceInterrupted(source) {
    const { sources } = this.#conference;
    if (source === "content") return;
    if (sources.isInterrupted(source)) toast(`device.interrupted.${source}`, { isWarning: true, durationMs: 9000 });
    else if (sources.isOn(source)) toast("device.resumed");
    this.changed();
  }

  toggleHand() {
    const isRaised = !this.#conference.isHandRaised;
    this.#conference.raiseHand(isRaised);
    announce(isRaised ? "announce.handRaised" : "announce.handLowered");
  }

  toggleFullscreen() {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void document.documentElement.requestFullscreen().catch(() => undefined);
  }

  openSettings() {
    const { sources } = this.#conference;
    this.#refillSettings = openDeviceSettings(sources, (kind, deviceId) => {
      if (kind === "speaker") {
        saveSettings({ speaker: deviceId });
        this.pictures.chooseSpeaker(deviceId);
      } else void this.#attempt(kind, deviceId);
    });
  }

  /**
   * @param {"microphone" | "camera" | "auxiliary"} source
   * @param {string} deviceId
   */
  async #attempt(source, deviceId) {
    try {
      await this.#conference.sources.choose(source, deviceId);
      saveSettings({ [source]: deviceId });
      toast("device.changed");
    } catch (error) {
      this.sourceFailed(source, error);
    }
    this.#refillSettings();
    this.changed();
  }

  /** @param {Panel | null} which */
  showPanel(which) {
    this.#panel = which;
    byId("panel", HTMLElement).hidden = which === null;
    for (const name of PANELS) {
      byId(`tab-${name}`, HTMLElement).setAttribute("aria-selected", String(which === name));
      byId(`panel-${name}`, HTMLElement).hidden = which !== name;
    }
    this.changed();
    if (which === "chat") this.chat.focus();
  }

  /** @param {Panel} which */
  togglePanel(which) {
    this.showPanel(this.#panel === which ? null : which);
  }

  async leave() {
    const isSure = await confirm("leave.confirm.title", "leave.confirm.text", {
      yes: "controls.leave",
      no: "leave.stay",
      isDangerous: true,
    });
    if (isSure) this.#conference.leave();
  }

  close() {
    clearInterval(this.timer);
    clearTimeout(this.#backTimer);
    this.#abort.abort();
    this.#floor.abort();
    closeDialog();
    this.pictures.close();
    this.controls.close();
    void this.#wakeLock?.release();
    for (const name of PANELS) byId(`panel-${name}`, HTMLElement).replaceChildren();
  }
}
