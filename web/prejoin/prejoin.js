/**
 * The page before the room: who one is, and whether camera, microphone and
 * loudspeaker work. Ends with tracks that are already open, so that the
 * first picture leaves as soon as the room is joined.
 */

import { fillDeviceChoices } from "../devices/devices.js";
import { byId, element, icon, showTrack } from "../shared/dom.js";
import { LevelMeter, onDevicesChanged, openCamera, openMicrophone, playTestSound, problemOf } from "../devices/media.js";
import { loadSettings, saveSettings } from "../shared/settings.js";
import { addTexts, setText } from "../shared/text/text.js";
import { en } from "./texts.en.js";
import { vi } from "./texts.vi.js";

/** @typedef {import("../shared/types.js").Admission} Admission */
/** @typedef {import("../devices/media.js").DeviceProblem} DeviceProblem */

addTexts({ vi, en });

/**
 * @typedef {object} Start
 * @property {string} name
 * @property {MediaStreamTrack | null} microphone
 * @property {MediaStreamTrack | null} camera
 * @property {boolean} isMicrophoneOn
 * @property {boolean} isCameraOn
 */

/** Loudness at which the page says that it hears a voice. */
const VOICE_LEVEL = 0.35;
const METER_INTERVAL_MS = 60;

export class Prejoin {
  /** @type {Record<"microphone" | "camera", MediaStreamTrack | null>} */
  #tracks = { microphone: null, camera: null };
  /** @type {Record<"microphone" | "camera", boolean>} what the user wants */
  #wants = { microphone: true, camera: true };
  /** @type {Map<"microphone" | "camera", DeviceProblem>} */ #problems = new Map();
  /** @type {LevelMeter | null} */ #meter = null;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #timer;
  #generation = { microphone: 0, camera: 0 };
  #isOpening = false;
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
    this.#wants = { microphone: this.#mayPublish, camera: this.#mayPublish };
    this.#problems.clear();
    this.#isOpening = this.#mayPublish;
    this.#stopListening = onDevicesChanged(() => void this.#listDevices());
    this.#timer = setInterval(() => this.#measure(), METER_INTERVAL_MS);
    this.#draw();
    if (this.#mayPublish) await Promise.all([this.#start("microphone"), this.#start("camera")]);
    this.#isOpening = false;
    this.#draw();
    await this.#listDevices();
  }

  close() {
    clearInterval(this.#timer);
    this.#stopListening();
    this.#meter?.stop();
    this.#meter = null;
    showTrack(this.#video, null);
    this.#tracks = { microphone: null, camera: null };
  }

  async #listDevices() {
    const { speaker } = loadSettings();
    await fillDeviceChoices(this.#selects, {
      microphone: this.#tracks.microphone?.getSettings().deviceId ?? "",
      camera: this.#tracks.camera?.getSettings().deviceId ?? "",
      speaker,
    });
  }

  /** @param {"microphone" | "camera"} kind */
  async #start(kind) {
    const generation = ++this.#generation[kind];
    const deviceId = loadSettings()[kind];
    try {
      const track = await (kind === "microphone" ? openMicrophone(deviceId) : openCamera(deviceId));
      if (generation !== this.#generation[kind] || !this.#wants[kind]) {
        track.stop();
        return;
      }
      this.#stop(kind);
      this.#tracks[kind] = track;
      this.#problems.delete(kind);
      if (kind === "microphone") this.#meter = new LevelMeter(track);
    } catch (error) {
      this.#problems.set(kind, problemOf(error));
      this.#wants[kind] = false;
    }
    this.#draw();
  }

  /** @param {"microphone" | "camera"} kind */
  #stop(kind) {
    this.#tracks[kind]?.stop();
    this.#tracks[kind] = null;
    if (kind === "microphone") {
      this.#meter?.stop();
      this.#meter = null;
    }
  }

  /** @param {"microphone" | "camera"} kind */
  #toggle(kind) {
    this.#wants[kind] = !this.#wants[kind];
    if (this.#wants[kind]) void this.#start(kind).then(() => this.#listDevices());
    else this.#stop(kind);
    this.#draw();
  }

  /**
   * @param {"microphone" | "camera"} kind
   * @param {string} deviceId
   */
  async #choose(kind, deviceId) {
    saveSettings({ [kind]: deviceId });
    this.#wants[kind] = true;
    await this.#start(kind);
  }

  /** @param {boolean} mayPublish  false: join without camera and microphone */
  #join(mayPublish) {
    const name = byId("prejoin-name", HTMLInputElement).value.trim();
    if (!name) return;
    saveSettings({ name });
    if (!mayPublish) {
      this.#stop("microphone");
      this.#stop("camera");
    }
    const { microphone, camera } = this.#tracks;
    this.#joined({ name, microphone, camera, isMicrophoneOn: microphone !== null, isCameraOn: camera !== null });
  }

  #measure() {
    const level = this.#meter?.level() ?? 0;
    const meter = byId("prejoin-meter", HTMLElement);
    meter.style.setProperty("--level", String(level));
    meter.setAttribute("aria-valuenow", String(Math.round(level * 100)));
    const now = performance.now();
    if (level > VOICE_LEVEL) this.#heardAt = now;
    const isHeard = this.#heardAt > 0 && now - this.#heardAt < 3000;
    const word = byId("prejoin-heard", HTMLElement);
    word.classList.toggle("heard", isHeard);
    setText(word, "text", !this.#meter ? "prejoin.mic.off" : isHeard ? "prejoin.heard" : "prejoin.speak");
  }

  #draw() {
    for (const kind of /** @type {const} */ (["microphone", "camera"])) {
      const isOn = this.#wants[kind];
      const short = kind === "microphone" ? "mic" : "camera";
      const button = byId(`prejoin-${short}`, HTMLButtonElement);
      button.disabled = !this.#mayPublish;
      button.setAttribute("aria-pressed", String(isOn));
      button.replaceChildren(
        icon(isOn ? short : `${short}-off`),
        element("span", { text: `prejoin.switch.${short}.${isOn ? "on" : "off"}` }),
      );
    }
    const { camera } = this.#tracks;
    showTrack(this.#video, camera);
    const empty = byId("preview-empty", HTMLElement);
    empty.hidden = camera !== null;
    const text = this.#problems.has("camera")
      ? "prejoin.camera.none"
      : this.#wants.camera && this.#isOpening
        ? "prejoin.camera.opening"
        : "prejoin.camera.off";
    setText(byId("preview-empty-text", HTMLElement), "text", text);
    this.#drawProblems();
    byId("prejoin-listen", HTMLButtonElement).hidden = !this.#mayPublish;
  }

  /** @param {("microphone" | "camera")[]} kinds */
  async #retry(kinds) {
    for (const kind of kinds) {
      this.#wants[kind] = true;
      await this.#start(kind);
    }
    await this.#listDevices();
  }

  #drawProblems() {
    const holder = byId("prejoin-problems", HTMLElement);
    /** @type {Map<DeviceProblem, ("microphone" | "camera")[]>} one cause is explained once */
    const kinds = new Map();
    for (const [kind, problem] of this.#problems) kinds.set(problem, [...(kinds.get(problem) ?? []), kind]);
    const notes = [...kinds].map(([problem, failed]) =>
      element(
        "div",
        { class: "problem" },
        icon("warning"),
        element(
          "div",
          {},
          ...failed.map((kind) => element("p", {}, element("strong", { text: `device.problem.${kind}` }))),
          element("p", { text: `device.problem.${problem}` }),
        ),
        element("button", { class: "button", text: "common.retry", click: () => void this.#retry(failed) }),
      ),
    );
    if (!this.#mayPublish) {
      notes.push(element("div", { class: "problem calm" }, icon("listen"), element("p", { text: "prejoin.observer" })));
    }
    holder.replaceChildren(...notes);
  }
}
