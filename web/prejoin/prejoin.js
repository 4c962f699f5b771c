/**
 * The page before the room: who one is, and whether camera, microphone and
 * loudspeaker work. The sources that it opens are those that the room sends,
 * so that what its buttons show is what is sent, and the first picture leaves
 * as soon as the room is joined.
 */

import { fillDeviceChoices } from "../devices/devices.js";
import { problemText } from "../devices/explain.js";
import { byId, element, icon, showTrack } from "../shared/dom.js";
import { listDevices, onDevicesChanged, problemOf } from "../devices/media.js";
import { playTestSound } from "../devices/sound.js";
import { Sources } from "../devices/sources.js";
import { loadSettings, saveSettings } from "../shared/settings.js";
import { addTexts, setText } from "../shared/text/text.js";
import { en } from "./texts.en.js";
import { vi } from "./texts.vi.js";

/** @typedef {import("../shared/types.js").Admission} Admission */
/** @typedef {import("../devices/media.js").DeviceProblem | "blank"} Problem  blank: the camera is open and gives no picture */
/** @typedef {{name: string, sources: Sources}} Start  who enters the room, and with what */
/** @typedef {"microphone" | "camera"} Kind */

addTexts({ vi, en });

const KINDS = /** @type {const} */ (["microphone", "camera"]);
/** Loudness at which the page says that it hears a voice. */
const VOICE_LEVEL = 0.35;
const METER_INTERVAL_MS = 60;
/** A camera that has given no picture by then gives none. */
const BLANK_MS = 6000;
/** Other cameras that are offered in place of one that cannot be used. */
const OFFERS_MAX = 3;

export class Prejoin {
  /** @type {Sources | null} */ #sources = null;
  /** @type {Map<Kind, Problem>} */ #problems = new Map();
  /** @type {MediaDeviceInfo[]} */ #cameras = [];
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;
  /** @type {MediaStreamTrack | null} the camera whose first picture is awaited */ #awaited = null;
  #blankMs = 0;
  #heardAt = 0;
  #mayPublish = true;
  /** @type {(start: Start) => void} */ #joined;
  /** @type {() => void} */ #stopListening = () => undefined;

  /** @param {(start: Start) => void} joined */
  constructor(joined) {
    this.#joined = joined;
    this.#video.muted = true;
    byId("prejoin-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#join(true);
    });
    byId("prejoin-listen", HTMLButtonElement).addEventListener("click", () => {
      if (byId("prejoin-form", HTMLFormElement).reportValidity()) this.#join(false);
    });
    byId("prejoin-mic", HTMLButtonElement).addEventListener("click", () => this.#toggle("microphone"));
    byId("prejoin-camera", HTMLButtonElement).addEventListener("click", () => this.#toggle("camera"));
    byId("prejoin-test", HTMLButtonElement).addEventListener("click", () => void playTestSound(loadSettings().speaker));
    const { microphone, camera, speaker } = this.#selects;
    microphone.addEventListener("change", () => void this.#choose("microphone", microphone.value));
    camera.addEventListener("change", () => void this.#choose("camera", camera.value));
    speaker.addEventListener("change", () => saveSettings({ speaker: speaker.value }));
  }

  get #video() {
    return byId("preview-video", HTMLVideoElement);
  }

  get #selects() {
    return {
      microphone: byId("prejoin-mic-choice", HTMLSelectElement),
      camera: byId("prejoin-camera-choice", HTMLSelectElement),
      speaker: byId("prejoin-speaker-choice", HTMLSelectElement),
    };
  }

  /** @param {Admission} admission */
  async open(admission) {
    this.close();
    byId("prejoin-room", HTMLElement).textContent = admission.room.title;
    byId("prejoin-site", HTMLElement).textContent = admission.site;
    byId("preview-site", HTMLElement).textContent = admission.site;
    setText(byId("prejoin-level", HTMLElement), "text", `level.${admission.level}`);
    setText(byId("prejoin-role", HTMLElement), "text", `role.${admission.role}`);
    const { recording = "off" } = admission;
    byId("prejoin-recording", HTMLElement).hidden = recording === "off";
    if (recording !== "off") setText(byId("prejoin-recording-text", HTMLElement), "text", `prejoin.recording.${recording}`);
    byId("prejoin-name", HTMLInputElement).value = admission.name || loadSettings().name;
    this.#mayPublish = admission.role !== "observer";
    const sources = new Sources(loadSettings());
    sources.observer = {
      changed: () => this.#draw(),
      muteChanged: () => undefined,
      ended: (kind) => this.#failed(kind, "missing"),
      interrupted: () => this.#draw(),
    };
    this.#sources = sources;
    this.#stopListening = onDevicesChanged(() => void this.#listDevices());
    this.#timer = setInterval(() => this.#measure(), METER_INTERVAL_MS);
    this.#draw();
    if (this.#mayPublish) {
      for (const [kind, error] of await sources.startBoth()) this.#failed(kind, problemOf(error));
    }
    if (sources !== this.#sources) return;
    await this.#listDevices();
  }

  /** Leave the page; what it has opened is closed, and so is what opens later. */
  close() {
    this.#sources?.close();
    this.#handOver();
  }

  /** Leave the page without its sources. */
  #handOver() {
    this.#sources = null;
    this.#problems.clear();
    clearInterval(this.#timer);
    this.#stopListening();
    this.#awaited = null;
    showTrack(this.#video, null);
  }

  async #listDevices() {
    const sources = this.#sources;
    if (!sources) return;
    const chosen = { microphone: sources.deviceId("microphone"), camera: sources.deviceId("camera"), speaker: loadSettings().speaker };
    /** @type {Map<string, import("../devices/media.js").DeviceProblem>} */
    const problems = new Map();
    for (const [kind, problem] of this.#problems) if (problem !== "blank") problems.set(kind, problem);
    await fillDeviceChoices(this.#selects, chosen, problems);
    this.#cameras = (await listDevices()).cameras;
    if (sources === this.#sources) this.#draw();
  }

  /** @param {Kind} kind */
  async #start(kind) {
    await this.#attempt(kind, (sources) => sources.start(kind));
  }

  /**
   * @param {Kind} kind
   * @param {(sources: Sources) => Promise<void>} change
   */
  async #attempt(kind, change) {
    const sources = this.#sources;
    if (!sources) return;
    this.#problems.delete(kind);
    try {
      await change(sources);
    } catch (error) {
      if (sources === this.#sources) this.#failed(kind, problemOf(error));
    }
    await this.#listDevices();
  }

  /**
   * @param {import("../shared/types.js").Source} kind
   * @param {Problem} problem
   */
  #failed(kind, problem) {
    if (!this.#sources || (kind !== "microphone" && kind !== "camera")) return;
    this.#problems.set(kind, problem);
    this.#draw();
  }

  /** @param {Kind} kind */
  #toggle(kind) {
    const sources = this.#sources;
    if (!sources) return;
    if (sources.isWished(kind)) {
      this.#problems.delete(kind);
      sources.release(kind);
    } else void this.#start(kind);
    this.#draw();
  }

  /**
   * @param {Kind} kind
   * @param {string} deviceId
   */
  async #choose(kind, deviceId) {
    if (!deviceId) return;
    saveSettings({ [kind]: deviceId });
    await this.#attempt(kind, async (sources) => {
      await sources.choose(kind, deviceId);
      await sources.start(kind);
    });
  }

  /** @param {boolean} isSending  false: join without camera and microphone */
  #join(isSending) {
    const sources = this.#sources;
    const name = byId("prejoin-name", HTMLInputElement).value.trim();
    if (!name || !sources) return;
    saveSettings({ name });
    if (!isSending || !this.#mayPublish) for (const kind of KINDS) sources.release(kind);
    this.#handOver();
    this.#joined({ name, sources });
  }

  #measure() {
    const sources = this.#sources;
    if (!sources) return;
    const level = sources.level();
    const meter = byId("prejoin-meter", HTMLElement);
    meter.style.setProperty("--level", String(level));
    meter.setAttribute("aria-valuenow", String(Math.round(level * 100)));
    const now = performance.now();
    if (level > VOICE_LEVEL) this.#heardAt = now;
    const isHeard = this.#heardAt > 0 && now - this.#heardAt < 3000;
    const word = byId("prejoin-heard", HTMLElement);
    word.classList.toggle("heard", isHeard);
    setText(word, "text", this.#levelWord(sources, isHeard));
    this.#watchPicture(sources);
  }

  /**
   * @param {Sources} sources
   * @param {boolean} isHeard
   */
  #levelWord(sources, isHeard) {
    if (sources.isInterrupted("microphone")) return "device.interrupted.microphone";
    if (!sources.isOn("microphone")) return sources.isWished("microphone") ? "prejoin.mic.opening" : "prejoin.mic.off";
    if (!sources.isMeasuring) return "prejoin.unmeasured";
    return isHeard ? "prejoin.heard" : "prejoin.speak";
  }

  /** A virtual camera may be open and never give a picture. @param {Sources} sources */
  #watchPicture(sources) {
    const camera = sources.track("camera");
    if (camera !== this.#awaited) {
      this.#awaited = camera;
      this.#blankMs = 0;
    }
    if (!camera || this.#video.videoWidth > 0) {
      if (this.#problems.get("camera") === "blank") {
        this.#problems.delete("camera");
        this.#draw();
      }
      return;
    }
    if (document.hidden) return;
    this.#blankMs += METER_INTERVAL_MS;
    if (this.#blankMs >= BLANK_MS && !this.#problems.has("camera")) this.#failed("camera", "blank");
  }

  #draw() {
    const sources = this.#sources;
    if (!sources) return;
    for (const kind of KINDS) {
      const isOn = sources.isWished(kind);
      const short = kind === "microphone" ? "mic" : "camera";
      const button = byId(`prejoin-${short}`, HTMLButtonElement);
      // The words say the state, so that a screen reader hears it once.
      button.dataset.on = String(isOn);
      button.dataset.test = String(!this.#mayPublish);
      const state = isOn ? "on" : this.#mayPublish ? "off" : "test";
      const span = button.querySelector("span");
      if (span?.dataset.text === `prejoin.switch.${short}.${state}`) continue;
      button.replaceChildren(icon(isOn ? short : `${short}-off`), element("span", { text: `prejoin.switch.${short}.${state}` }));
    }
    const camera = sources.isOn("camera") ? sources.track("camera") : null;
    showTrack(this.#video, camera);
    byId("preview-empty", HTMLElement).hidden = camera !== null;
    const text = this.#problems.has("camera")
      ? "prejoin.camera.none"
      : sources.isWished("camera")
        ? "prejoin.camera.opening"
        : "prejoin.camera.off";
    setText(byId("preview-empty-text", HTMLElement), "text", text);
    this.#drawProblems(sources);
    byId("prejoin-listen", HTMLButtonElement).hidden = !this.#mayPublish;
  }

  /** @param {Kind[]} kinds */
  async #retry(kinds) {
    // One after the other: their prompts would cover each other.
    for (const kind of kinds) await this.#start(kind);
  }

  /** @param {Sources} sources */
  #drawProblems(sources) {
    const holder = byId("prejoin-problems", HTMLElement);
    const used = sources.deviceId("camera");
    const others = this.#problems.has("camera") && this.#problems.get("camera") !== "denied"
      ? this.#cameras.filter(({ deviceId, label }) => label && deviceId !== used).slice(0, OFFERS_MAX)
      : [];
    const key = JSON.stringify([[...this.#problems], others.map(({ label }) => label), this.#mayPublish]);
    // Made anew only when something is new: a screen reader says it again.
    if (holder.dataset.shown === key) return;
    holder.dataset.shown = key;
    /** @type {Map<Problem, Kind[]>} one cause is explained once */
    const kinds = new Map();
    for (const [kind, problem] of this.#problems) kinds.set(problem, [...(kinds.get(problem) ?? []), kind]);
    const notes = [...kinds].map(([problem, failed]) => {
      const offers = failed.includes("camera")
        ? others.map(({ label, deviceId }) =>
            element("button", { class: "button", text: ["device.use", { device: label }], click: () => void this.#choose("camera", deviceId) }),
          )
        : [];
      const again = element("button", { class: "button", text: "common.retry", click: () => void this.#retry(failed) });
      return element(
        "div",
        { class: "problem" },
        icon("warning"),
        element(
          "div",
          {},
          ...failed.map((kind) => element("p", {}, element("strong", { text: `device.problem.${kind}` }))),
          element("p", { text: problem === "blank" ? "device.problem.blank" : problemText(problem) }),
        ),
        element("div", { class: "problem-actions" }, ...(problem === "blank" ? [] : [again]), ...offers),
      );
    });
    if (!this.#mayPublish) {
      notes.push(element("div", { class: "problem calm" }, icon("listen"), element("p", { text: "prejoin.observer" })));
    }
    holder.replaceChildren(...notes);
  }
}
