/** The lists of microphones, cameras and loudspeakers, on the pre-join page and in the room. */

import { openDialog } from "../shared/dialogs.js";
import { element } from "../shared/dom.js";
import { listDevices, onDevicesChanged, playTestSound } from "./media.js";
import { loadSettings } from "../shared/settings.js";
import { addTexts } from "../shared/text/text.js";
import { en } from "./texts.en.js";
import { vi } from "./texts.vi.js";

/** @typedef {import("./media.js").DeviceList} DeviceList */

addTexts({ vi, en });

/** @typedef {"microphone" | "camera" | "auxiliary" | "speaker"} DeviceKind */

/** @type {Record<DeviceKind, keyof DeviceList>} */
const LISTS = { microphone: "microphones", camera: "cameras", auxiliary: "cameras", speaker: "speakers" };

/**
 * @param {HTMLSelectElement} select
 * @param {MediaDeviceInfo[]} devices
 * @param {string} chosen
 * @param {boolean} hasDefault  a speaker list always has the system's own choice
 */
function fill(select, devices, chosen, hasDefault) {
  const options = devices.map((device, index) =>
    device.label
      ? element("option", { value: device.label, attributes: { value: device.deviceId } })
      : element("option", { text: ["device.numbered", { number: index + 1 }], attributes: { value: device.deviceId } }),
  );
  if (options.length === 0 || (hasDefault && !devices.some((device) => device.deviceId === "default"))) {
    options.unshift(
      element("option", { text: hasDefault ? "device.default" : "device.none", attributes: { value: "" } }),
    );
  }
  select.replaceChildren(...options);
  select.disabled = devices.length === 0;
  if (devices.some((device) => device.deviceId === chosen)) select.value = chosen;
}

/**
 * Fill selects with what is plugged in now.
 * @param {Partial<Record<DeviceKind, HTMLSelectElement>>} selects
 * @param {Partial<Record<DeviceKind, string>>} chosen
 */
export async function fillDeviceChoices(selects, chosen) {
  const lists = await listDevices();
  for (const [kind, select] of /** @type {[DeviceKind, HTMLSelectElement][]} */ (Object.entries(selects))) {
    fill(select, lists[LISTS[kind]], chosen[kind] ?? "", kind === "speaker");
  }
}

/**
 * The dialog to change devices during the conference.
 * @param {Record<DeviceKind, string>} current
 * @param {(kind: DeviceKind, deviceId: string) => void} chosen
 */
export async function openDeviceSettings(current, chosen) {
  /** @type {Partial<Record<DeviceKind, HTMLSelectElement>>} */
  const selects = {};
  const fields = /** @type {DeviceKind[]} */ (["microphone", "camera", "auxiliary", "speaker"]).map((kind) => {
    const select = element("select");
    select.addEventListener("change", () => chosen(kind, select.value));
    selects[kind] = select;
    return element("label", { class: "field" }, element("span", { text: `device.${kind}` }), select);
  });
  const test = element("button", {
    class: "button",
    text: "device.test",
    click: () => void playTestSound(loadSettings().speaker),
  });
  const refill = () => void fillDeviceChoices(selects, current);
  const stopListening = onDevicesChanged(refill);
  openDialog("device.settings", [...fields, test], { closed: stopListening });
  refill();
}
