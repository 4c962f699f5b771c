/** What the bar of controls offers, and on which key. */

import { openHelp } from "./help.js";
import { canShareScreen } from "../devices/media.js";
import { saveSettings } from "../shared/settings.js";
import { language, setLanguage } from "../shared/text/text.js";

/** @typedef {import("./room.js").Room} Room */
/** @typedef {import("./controls.js").Control} Control */

/** Switch between the two languages and remember it. */
export function switchLanguage() {
  const next = language() === "vi" ? "en" : "vi";
  setLanguage(next);
  saveSettings({ language: next });
}

/**
 * @param {Room} room
 * @returns {Control[]}
 */
export function controlList(room) {
  const { sources, state } = room.conference;
  return [
    {
      id: "microphone",
      place: "first",
      code: "KeyM",
      run: () => void room.toggleSource("microphone"),
      look: () => {
        if (!state.mayPublish) {
          return { icon: "listen", text: "controls.mic.none", hint: "controls.mic.none.hint", label: "controls.notAllowed", tone: "none" };
        }
        return sources.isOn("microphone")
          ? { icon: "mic", text: "controls.mic.on", hint: "controls.mic.on.hint", label: "controls.mic.turnOff", tone: "on" }
          : { icon: "mic-off", text: "controls.mic.off", hint: "controls.mic.off.hint", label: "controls.mic.turnOn", tone: "off" };
      },
    },
    {
      id: "camera",
      place: "first",
      code: "KeyV",
      run: () => void room.toggleSource("camera"),
      look: () =>
        sources.isOn("camera")
          ? { icon: "camera", text: "controls.camera.on", label: "controls.camera.turnOff", isHidden: !state.mayPublish }
          : { icon: "camera-off", text: "controls.camera.off", label: "controls.camera.turnOn", tone: "off", isHidden: !state.mayPublish },
    },
    {
      id: "share",
      place: "wide",
      code: "KeyS",
      run: () => void room.toggleSource("content"),
      look: () => ({
        ...(sources.isOn("content")
          ? /** @type {const} */ ({ icon: "screen-off", text: "controls.share.stop", label: "controls.share.stop.label", tone: "active" })
          : /** @type {const} */ ({ icon: "screen", text: "controls.share", label: "controls.share.start" })),
        isHidden: !state.mayPublish || !canShareScreen(),
      }),
    },
    {
      id: "auxiliary",
      place: "wide",
      run: () => void room.toggleSource("auxiliary"),
      look: () => ({
        ...(sources.isOn("auxiliary")
          ? /** @type {const} */ ({ icon: "auxiliary", text: "controls.auxiliary.stop", label: "controls.auxiliary.stop", tone: "active" })
          : /** @type {const} */ ({ icon: "auxiliary", text: "controls.auxiliary", label: "controls.auxiliary.start" })),
        isHidden: !state.mayPublish,
      }),
    },
    {
      id: "hand",
      place: "first",
      code: "KeyH",
      run: () => room.toggleHand(),
      look: () =>
        room.conference.isHandRaised
          ? { icon: "hand", text: "controls.hand.lower", label: "controls.hand.lower.label", tone: "active" }
          : { icon: "hand", text: "controls.hand", label: "controls.hand.raise" },
    },
    {
      id: "gallery",
      place: "wide",
      code: "KeyG",
      run: () => {
        room.pictures.toggleGallery();
        room.changed();
      },
      look: () =>
        room.pictures.isGallery
          ? { icon: "stage", text: "controls.stage", label: "controls.stage.show" }
          : { icon: "gallery", text: "controls.gallery", label: "controls.gallery.show" },
    },
    {
      id: "people",
      place: "wide",
      code: "KeyP",
      run: () => room.togglePanel("people"),
      look: () => ({
        icon: "people",
        text: "controls.people",
        label: "controls.people.label",
        isPressed: room.panel === "people",
        badge: state.mayModerate ? state.waiting.length + state.hands.length : 0,
      }),
    },
    {
      id: "chat",
      place: "wide",
      code: "KeyC",
      run: () => room.togglePanel("chat"),
      look: () => ({
        icon: "chat",
        text: "controls.chat",
        label: room.unread > 0 ? ["controls.chat.unread", { count: room.unread }] : "controls.chat.label",
        isPressed: room.panel === "chat",
        badge: room.unread,
      }),
    },
    {
      id: "cases",
      place: "wide",
      code: "KeyB",
      run: () => room.togglePanel("cases"),
      look: () => ({
        icon: "cases",
        text: "controls.cases",
        label: "controls.cases.label",
        isPressed: room.panel === "cases",
        isHidden: !state.mayModerate,
      }),
    },
    {
      id: "fullscreen",
      place: "more",
      code: "KeyF",
      run: () => room.toggleFullscreen(),
      look: () => ({
        ...(document.fullscreenElement
          ? /** @type {const} */ ({ icon: "shrink", text: "controls.fullscreen.end", label: "controls.fullscreen.end.label" })
          : /** @type {const} */ ({ icon: "fullscreen", text: "controls.fullscreen", label: "controls.fullscreen.label" })),
        isHidden: !document.fullscreenEnabled,
      }),
    },
    {
      id: "settings",
      place: "more",
      run: () => room.openSettings(),
      look: () => ({ icon: "settings", text: "controls.settings", label: "controls.settings" }),
    },
    {
      id: "saving",
      place: "more",
      run: () => room.toggleWish("none"),
      look: () => ({
        icon: "listen",
        text: "controls.saving",
        label: room.pictures.wish === "none" ? "controls.saving.stop" : "controls.saving.start",
        isPressed: room.pictures.wish === "none",
      }),
    },
    {
      id: "less",
      place: "more",
      run: () => room.toggleWish("less"),
      look: () => ({
        icon: "signal",
        text: "controls.less",
        label: room.pictures.wish === "less" ? "controls.less.stop" : "controls.less.start",
        isPressed: room.pictures.wish === "less",
      }),
    },
    {
      id: "language",
      place: "more",
      run: switchLanguage,
      look: () => ({ icon: "language", text: "controls.language", label: "controls.language.label" }),
    },
    {
      id: "help",
      place: "more",
      code: "?",
      run: openHelp,
      look: () => ({ icon: "help", text: "controls.help", label: "controls.help.label" }),
    },
    {
      id: "leave",
      place: "last",
      run: () => void room.leave(),
      look: () => ({ icon: "leave", text: "controls.leave", label: "controls.leave", tone: "leave" }),
    },
  ];
}
