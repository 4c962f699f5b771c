/** Cameras, microphones and loudspeakers, in English. The same keys as texts.vi.js; tsc and a test hold them equal. */
/** @type {Record<keyof typeof import("./texts.vi.js").vi, string>} */
export const en = {
  "device.microphone": "Microphone",
  "device.camera": "Camera",
  "device.auxiliary": "Auxiliary camera (ultrasound, endoscope, document camera)",
  "device.speaker": "Loudspeaker",
  "device.test": "Test sound",
  "device.default": "System default",
  "device.none": "No device found",
  "device.numbered": "Device {number}",
  "device.settings": "Devices",
  "device.changed": "Device changed.",
  "device.ended.microphone": "The microphone was disconnected. Plug it in again and turn it on.",
  "device.ended.camera": "The camera was disconnected. Plug it in again and turn it on.",
  "device.ended.content": "Screen sharing has stopped.",
  "device.ended.auxiliary": "The auxiliary camera was disconnected.",
  "device.problem.microphone": "The microphone cannot be used",
  "device.problem.camera": "The camera cannot be used",
  "device.problem.content": "The screen cannot be shared",
  "device.problem.auxiliary": "The auxiliary camera cannot be used",
  "device.problem.denied": "The browser has no permission. Click the padlock beside the page address, choose “Allow”, then try again.",
  "device.problem.missing": "No device was found. Check the cable. You can still join to listen and watch.",
  "device.problem.busy": "Another program is using the device. Close that program and try again.",
  "device.problem.insecure": "The page must be opened with an https:// address before the browser allows this device.",
  "device.problem.unsuitable": "The device does not offer what is needed. Choose another one.",
  "device.problem.unknown": "Opening the device failed. Unplug it, plug it in again, and try again."
};
