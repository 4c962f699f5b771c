/** The page before the room, in English. The same keys as texts.vi.js; tsc and a test hold them equal. */
/** @type {Record<keyof typeof import("./texts.vi.js").vi, string>} */
export const en = {
  "prejoin.eyebrow": "Getting ready for the case conference",
  "prejoin.preview": "Preview of your picture",
  "prejoin.site": "Site",
  "prejoin.role": "Role",
  "prejoin.recording.auto": "This conference is recorded.",
  "prejoin.recording.on-consent": "This conference is recorded when the patient consents.",
  "prejoin.name": "Your full name",
  "prejoin.join": "Join the conference",
  "prejoin.listen": "Only listen and watch",
  "prejoin.level": "Microphone level",
  "prejoin.heard": "Your voice is heard clearly",
  "prejoin.speak": "Say something to test the microphone",
  "prejoin.mic.off": "The microphone is off",
  "prejoin.camera.off": "The camera is off",
  "prejoin.camera.none": "No picture from the camera",
  "prejoin.camera.opening": "Opening the camera…",
  "prejoin.observer": "Observer site: microphone and camera can be turned on only when the chair gives you the floor. Test them now; they are off when you enter.",
  "prejoin.switch.mic.on": "Microphone on",
  "prejoin.switch.mic.off": "Microphone off",
  "prejoin.switch.camera.on": "Camera on",
  "prejoin.switch.camera.off": "Camera off",
  "prejoin.unmeasured": "The microphone is on (this browser cannot measure its level)",
  "prejoin.mic.opening": "Opening the microphone…",
  "prejoin.switch.mic.test": "Test the microphone",
  "prejoin.switch.camera.test": "Test the camera"
};
