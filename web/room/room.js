/**
 * The room page: ties pictures, controls, panels and words to one conference.
 */

import { narrate } from "./announcements.js";
import { Chat } from "./chat.js";
import { controlList } from "./controllist.js";
import { Controls } from "./controls.js";
import { Banner } from "./banner.js";
import { openDeviceSettings } from "../devices/devices.js";
import { Cases } from "./cases.js";
import { announce } from "../shared/announce.js";
import { closeDialog, confirm, toast } from "../shared/dialogs.js";
import { byId } from "../shared/dom.js";
import { problemText } from "../devices/explain.js";
import { problemOf } from "../devices/media.js";
import { openInvited } from "./invited.js";
import { Moderation } from "./moderation.js";
import { SidePanel } from "./panel.js";
import { Pictures } from "./pictures.js";
import { showRecording } from "./recording.js";
import { loadSettings, saveSettings } from "../shared/settings.js";
import { onLanguage, setText } from "../shared/text/text.js";
import { PushToTalk, UnheardHint } from "./talking.js";
import { drawTopbar } from "./topbar.js";
import { Unread } from "./unread.js";
import { openTransport, showTransport } from "./transport.js";
import { wishOf } from "../protocol/wish.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/types.js").BridgeMessage} BridgeMessage */
/** @typedef {import("../shared/types.js").Source} Source */
/** @typedef {import("./panel.js").PanelName} PanelName */

/** Long enough to look at what it is before it is shown again. */
const WITHHELD_MS = 30_000;
const LEVEL_INTERVAL_MS = 100;

export class Room {
  /** @type {Conference} */ #conference;
  #isDrawing = false;
  #panel;
  #unread = new Unread();
  #floor = new AbortController();
  #hint = new UnheardHint();
  /** @type {() => void} the device dialog, if it is open, shows what is used now */ #refillSettings = () => undefined;
  #banner = new Banner();
  #abort = new AbortController();
  /** @type {any} */ #wakeLock = null;

  /** @param {Conference} conference */
  constructor(conference) {
    this.#conference = conference;
    const changed = () => this.changed();
    const { speaker, pictures } = loadSettings();
    this.pictures = new Pictures(conference, { speakerId: speaker, wish: wishOf(pictures), changed });
    this.people = new Moderation(conference, byId("panel-people", HTMLElement));
    this.chat = new Chat(conference, byId("panel-chat", HTMLElement));
    this.cases = new Cases(conference, byId("panel-cases", HTMLElement));
    this.#panel = new SidePanel({ changed, focusChat: () => this.chat.focus() });
    const talk = new PushToTalk(conference.sources, (error) => this.sourceFailed("microphone", error));
    this.controls = new Controls(controlList(this), {
      talk: (isDown) => {
        if (!isDown) talk.release();
        else if (conference.state.mayPublish) void talk.press();
      },
      turnPage: (step) => this.pictures.turnPage(step),
      escape: () => this.#panel.show(null),
    });
    this.timer = setInterval(() => this.#listen(), LEVEL_INTERVAL_MS);
    const { signal } = this.#abort;
    byId("sound", HTMLElement).addEventListener("click", () => this.pictures.playSound(), { signal });
    byId("transport", HTMLElement).addEventListener("click", () => openTransport(conference), { signal });
    document.addEventListener("fullscreenchange", changed, { signal });
    document.addEventListener("visibilitychange", () => void this.#stayAwake(), { signal });
    signal.addEventListener("abort", onLanguage(changed));
    void this.#stayAwake();
    this.changed();
  }

  get conference() {
    return this.#conference;
  }

  get panel() {
    return this.#panel.shown;
  }

  get unread() {
    return this.#unread.count(this.#conference.state.chat);
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
    narrate(message, this.#conference.state, { openPeople: () => this.#panel.show("people") });
    if (message.type === "slots") queueMicrotask(() => this.pictures.watch.hurry());
    if (message.type === "closing") this.#banner.isClosing = true;
    if (message.type === "floor") this.#floorChanged(message.granted);
    if (message.type === "content" && message.withheld) this.#contentWithheld();
    if (message.type === "welcome") {
      const others = message.link_in_use ?? 0;
      if (others > 0 && !message.resumed) toast(["elsewhere.devices", { count: others }], { isWarning: true, durationMs: 15_000 });
      this.#banner.isClosing = false;
      this.#unread.welcome(message.chat);
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

  /** The case has changed: what was shown may be an image of another patient. */
  #contentWithheld() {
    const { connection, state } = this.#conference;
    const { content } = state;
    const member = state.member(content?.participant ?? null);
    if (!content || !member) return;
    const isOwn = content.participant === state.self;
    if (!isOwn && !state.mayModerate) return;
    toast(isOwn ? "room.content.withheld.self" : ["room.content.withheld", { site: member.site }], {
      isWarning: true,
      durationMs: WITHHELD_MS,
      action: state.mayModerate ? { text: "people.showContent", run: () => void connection.send({ type: "show_content", ...content }) } : undefined,
    });
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
    drawTopbar(state, this.pictures.wish);
    byId("tab-cases", HTMLElement).hidden = !state.mayModerate;
    showRecording(state.recording, this.#conference.connection.state === "joined");
    this.#banner.draw(this.#conference);
    showTransport(this.#conference);
    this.pictures.draw();
    if (this.panel === "people") this.people.draw();
    if (this.panel === "cases") this.cases.draw();
    this.cases.askOnce();
    if (this.panel === "chat") {
      this.chat.draw();
      this.#unread.read(state.chat);
    }
    const bar = byId("controls", HTMLElement);
    bar.dataset.microphone = !state.mayPublish ? "none" : this.#conference.sources.isOn("microphone") ? "on" : "off";
    this.controls.draw();
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

  cameraStalled() {
    toast("device.problem.stalled", { isWarning: true, durationMs: 9000 });
  }

  toggleHand() {
    const isRaised = !this.#conference.isHandRaised;
    this.#conference.raiseHand(isRaised);
    announce(isRaised ? "announce.handRaised" : "announce.handLowered");
  }

  /** Ask for fewer pictures, or for all of them again; remembered. @param {"less" | "none"} wish */
  toggleWish(wish) {
    const next = this.pictures.wish === wish ? "all" : wish;
    saveSettings({ pictures: next });
    this.pictures.wishFor(next);
    announce(`announce.pictures.${next}`);
    this.changed();
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

  /** @param {PanelName} which */
  togglePanel(which) {
    this.#panel.show(this.panel === which ? null : which);
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
    this.#banner.close();
    this.#abort.abort();
    this.#floor.abort();
    closeDialog();
    this.pictures.close();
    this.controls.close();
    void this.#wakeLock?.release();
    this.#panel.close();
  }
}
