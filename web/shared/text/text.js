/**
 * The page's words in the chosen language. Elements remember which text they
 * carry, so that a change of language rewrites them in place.
 *
 * Here is what every page may say. A folder with texts of its own adds them,
 * and declares their keys in its texts.d.ts.
 */

import { en } from "./common.en.js";
import { vi } from "./common.vi.js";

/** @typedef {keyof typeof vi | keyof FolderTexts} TextKey */
/** @typedef {"vi" | "en"} Language */
/** @typedef {Record<string, string | number>} TextValues */
/** @typedef {TextKey | [TextKey, TextValues]} Text */
/** @typedef {"text" | "label" | "title" | "placeholder"} TextPlace */

/** @type {Record<Language, Partial<Record<TextKey, string>>>} */
const TEXTS = { vi: { ...vi }, en: { ...en } };

/** @type {Language} */
let current = "vi";
/** @type {Set<() => void>} */
const listeners = new Set();
/** @type {WeakMap<Element, Partial<Record<TextPlace, TextValues>>>} */
const values = new WeakMap();

/**
 * Add the texts of a folder, before any of them is used.
 * @param {Record<Language, Partial<Record<TextKey, string>>>} texts
 */
export function addTexts(texts) {
  Object.assign(TEXTS.vi, texts.vi);
  Object.assign(TEXTS.en, texts.en);
}

/** @returns {Language} */
export function language() {
  return current;
}

/** @param {string} wish @returns {wish is Language} */
export function isLanguage(wish) {
  return wish === "vi" || wish === "en";
}

/** @param {Language} wish */
export function setLanguage(wish) {
  current = wish;
  document.documentElement.lang = wish;
  translate(document);
  for (const listener of listeners) listener();
}

/**
 * @param {() => void} listener called after every change of language
 * @returns {() => void} stop listening
 */
export function onLanguage(listener) {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

/**
 * @param {TextKey} key
 * @param {TextValues} [parameters]  replace {name} in the text
 * @returns {string}
 */
export function t(key, parameters) {
  const text = TEXTS[current][key];
  if (text === undefined) throw new Error(`no text ${key}`);
  if (!parameters) return text;
  return text.replace(/\{(\w+)\}/g, (whole, name) => String(parameters[name] ?? whole));
}

/**
 * A text whose key is made at run time, such as an error code's.
 * @param {string} key
 * @param {TextKey} otherwise
 * @returns {TextKey}
 */
export function knownKey(key, otherwise) {
  return key in TEXTS.vi ? /** @type {TextKey} */ (key) : otherwise;
}

/** @type {Record<TextPlace, (node: HTMLElement | SVGElement, text: string) => void>} */
const WRITE = {
  text: (node, text) => (node.textContent = text),
  label: (node, text) => node.setAttribute("aria-label", text),
  title: (node, text) => node.setAttribute("title", text),
  placeholder: (node, text) => node.setAttribute("placeholder", text),
};

/**
 * Give an element a text that follows the language.
 * @param {HTMLElement | SVGElement} node
 * @param {TextPlace} place
 * @param {Text} what
 */
export function setText(node, place, what) {
  const [key, parameters] = Array.isArray(what) ? what : [what, undefined];
  const text = t(key, parameters);
  node.dataset[place] = key;
  if (parameters) values.set(node, { ...values.get(node), [place]: parameters });
  // Writing the same text again would make a screen reader say it again.
  if (place !== "text" || node.textContent !== text) WRITE[place](node, text);
}

/**
 * @param {HTMLElement | SVGElement} node
 * @param {TextPlace} place
 */
export function clearText(node, place) {
  delete node.dataset[place];
  if (place === "text") node.textContent = "";
  else node.removeAttribute(place === "label" ? "aria-label" : place);
}

/** @param {Document | Element} root */
export function translate(root) {
  for (const place of /** @type {TextPlace[]} */ (Object.keys(WRITE))) {
    for (const node of root.querySelectorAll(`[data-${place}]`)) {
      if (!(node instanceof HTMLElement || node instanceof SVGElement)) continue;
      const key = node.dataset[place];
      if (key) WRITE[place](node, t(knownKey(key, "app.title"), values.get(node)?.[place]));
    }
  }
}

/** Hours and minutes, 24 hours in both languages. @param {Date} time */
export function clockTime(time) {
  return time.toLocaleTimeString(current, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
}
