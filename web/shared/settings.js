/**
 * What the browser remembers of this site: language, devices, name. Never
 * anything about a case.
 */

/**
 * @typedef {object} Settings
 * @property {string} language
 * @property {string} microphone  device id
 * @property {string} camera
 * @property {string} auxiliary
 * @property {string} speaker
 * @property {string} name
 * @property {string} pictures  what is wished of them: all, less, none
 */

const KEY = "hoichan.settings";

/** @type {Settings} */
const DEFAULTS = { language: "vi", microphone: "", camera: "", auxiliary: "", speaker: "", name: "", pictures: "all" };

/** @returns {Settings} */
export function loadSettings() {
  try {
    const stored = JSON.parse(localStorage.getItem(KEY) ?? "{}");
    /** @type {Record<string, string>} */
    const settings = { ...DEFAULTS };
    for (const key of Object.keys(DEFAULTS)) {
      if (stored && typeof stored[key] === "string") settings[key] = stored[key];
    }
    return /** @type {Settings} */ (/** @type {unknown} */ (settings));
  } catch (error) {
    // Storage switched off by policy, or written by an older page: the defaults will do.
    if (error instanceof DOMException || error instanceof SyntaxError) return { ...DEFAULTS };
    throw error;
  }
}

/** @param {Partial<Settings>} changes */
export function saveSettings(changes) {
  try {
    localStorage.setItem(KEY, JSON.stringify({ ...loadSettings(), ...changes }));
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
  }
}
