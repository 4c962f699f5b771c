/** The lists of microphones, cameras and loudspeakers, on the pre-join page and in the room. */

import { openDialog } from "../shared/dialogs.js";
import { element, showTrack } from "../shared/dom.js";
import { listDevices, onDevicesChanged } from "./media.js";
import { playTestSound } from "./sound.js";
import { loadSettings } from "../shared/settings.js";
import { addTexts, setText } from "../shared/text/text.js";
import { en } from "./texts.en.js";
import { vi } from "./texts.vi.js";

/** @typedef {import("./media.js").DeviceList} DeviceList */
/** @typedef {import("./media.js").DeviceProblem} DeviceProblem */
/** @typedef {import("./sources.js").Sources} Sources */
/** @typedef {import("../shared/text/text.js").Text} Text */

addTexts({ vi, en });

/** @typedef {"microphone" | "camera" | "auxiliary" | "speaker"} DeviceKind */

/** @type {Record<DeviceKind, {list: "microphones" | "cameras" | "speakers", kind: MediaDeviceKind}>} */
const LISTS = {
  microphone: { list: "microphones", kind: "audioinput" },
  camera: { list: "cameras", kind: "videoinput" },
  auxiliary: { list: "cameras", kind: "videoinput" },
  speaker: { list: "speakers", kind: "audiooutput" },
};

const LEVEL_INTERVAL_MS = 80;

/**
 * @param {MediaDeviceInfo} device
 * @param {number} index
 */
function option(device, index) {
  const attributes = { value: device.deviceId };
  return device.label
    ? element("option", { value: device.label, attributes })
    : element("option", { text: ["device.numbered", { number: index + 1 }], attributes });
}

/**
 * @param {HTMLSelectElement} select
 * @param {MediaDeviceInfo[]} devices
 * @param {string} chosen  what is used; shown only if it is there
 * @param {Text | null} otherwise  stands for "none of these"; null: one of them is always used
 */
function fill(select, devices, chosen, otherwise) {
  const options = devices.map(option);
  const isThere = devices.some((device) => device.deviceId === chosen);
  // A list that shows its first device as chosen while another one is used lets nobody choose the first.
  if (!isThere && otherwise) options.unshift(element("option", { text: otherwise, attributes: { value: "" } }));
  select.replaceChildren(...options);
  select.disabled = devices.length === 0;
  select.value = isThere ? chosen : "";
}

/**
 * Fill selects with what is plugged in now.
 * @param {Partial<Record<DeviceKind, HTMLSelectElement>>} selects
 * @param {Partial<Record<DeviceKind, string>>} chosen
 * @param {ReadonlyMap<string, DeviceProblem>} [problems]  why a device cannot be used
 */
export async function fillDeviceChoices(selects, chosen, problems) {
  const lists = await listDevices();
  for (const [name, select] of /** @type {[DeviceKind, HTMLSelectElement][]} */ (Object.entries(selects))) {
    const { list, kind } = LISTS[name];
    const devices = lists[list].filter(({ deviceId }) => name !== "auxiliary" || deviceId !== chosen.camera);
    /** @type {Text | null} */
    let otherwise;
    if (name === "speaker") otherwise = devices.some(({ deviceId }) => deviceId === "default") ? null : "device.default";
    else if (devices.length > 0) otherwise = "device.choose";
    else if (problems?.get(name) === "denied") otherwise = "device.list.denied";
    else otherwise = lists.hidden.has(kind) ? "device.list.hidden" : "device.none";
    const isDefault = name === "speaker" && otherwise === null && !chosen.speaker;
    fill(select, devices, isDefault ? "default" : (chosen[name] ?? ""), otherwise);
  }
}

/**
 * The dialog to change devices during the conference.
 * @param {Sources} sources
 * @param {(kind: DeviceKind, deviceId: string) => void} chosen
 * @returns {() => void} draw it again: something has changed
 */
export function openDeviceSettings(sources, chosen) {
  /** @type {Partial<Record<DeviceKind, HTMLSelectElement>>} */
  const selects = {};
  const fields = /** @type {DeviceKind[]} */ (["microphone", "camera", "auxiliary", "speaker"]).map((kind) => {
    const select = element("select");
    select.addEventListener("change", () => {
      if (select.value || kind === "speaker") chosen(kind, select.value);
    });
    selects[kind] = select;
    return element("label", { class: "field" }, element("span", { text: `device.${kind}` }), select);
  });
  const meter = element("div", { class: "meter", label: "device.level", attributes: { role: "meter", "aria-valuemin": "0", "aria-valuemax": "100" } }, element("span"));
  const word = element("p", { class: "meter-word" });
  const preview = element("video", { class: "device-preview mirrored", label: "device.preview", attributes: { playsinline: "", autoplay: "" } });
  preview.muted = true;
  fields[0]?.append(meter, word);
  fields[1]?.append(preview);
  const test = element("button", {
    class: "button",
    text: "device.test",
    click: () => void playTestSound(loadSettings().speaker),
  });
  const draw = () => {
    const level = Math.round(sources.level() * 100);
    meter.style.setProperty("--level", String(level / 100));
    meter.setAttribute("aria-valuenow", String(level));
    setText(word, "text", !sources.track("microphone") ? "device.level.off" : sources.isMeasuring ? "device.level.speak" : "device.level.unknown");
    const camera = sources.track("camera");
    preview.hidden = camera === null;
    showTrack(preview, camera);
  };
  const refill = () =>
    void fillDeviceChoices(selects, {
      microphone: sources.deviceId("microphone"),
      camera: sources.deviceId("camera"),
      auxiliary: sources.deviceId("auxiliary"),
      speaker: loadSettings().speaker,
    });
  const stopListening = onDevicesChanged(refill);
  const timer = setInterval(draw, LEVEL_INTERVAL_MS);
  openDialog("device.settings", [...fields, test], {
    closed: () => {
      clearInterval(timer);
      stopListening();
      showTrack(preview, null);
    },
  });
  draw();
  refill();
  return refill;
}
