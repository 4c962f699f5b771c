/**
 * Few words for making elements. Every text goes through text.js.
 */

import { address } from "./address.js";
import { setText } from "./text/text.js";

/** @typedef {import("./text/text.js").Text} Text */

/**
 * @typedef {object} Properties
 * @property {string} [id]
 * @property {string} [class]
 * @property {Text} [text]
 * @property {Text} [label]  accessible name
 * @property {Text} [title]
 * @property {Text} [placeholder]
 * @property {string} [value]  literal text of data, never of the interface
 * @property {Record<string, string>} [attributes]
 * @property {(event: Event) => void} [click]
 * @property {boolean} [hidden]
 */

/**
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Properties} [properties]
 * @param {...(Node | null)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  if (properties.id) node.id = properties.id;
  if (properties.class) node.className = properties.class;
  for (const place of /** @type {const} */ (["text", "label", "title", "placeholder"])) {
    const text = properties[place];
    if (text) setText(node, place, text);
  }
  if (properties.value !== undefined) node.textContent = properties.value;
  for (const [name, value] of Object.entries(properties.attributes ?? {})) node.setAttribute(name, value);
  if (properties.click) node.addEventListener("click", properties.click);
  if (properties.hidden) node.hidden = true;
  if (tag === "button" && !node.hasAttribute("type")) node.setAttribute("type", "button");
  for (const child of children) if (child) node.append(child);
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** @param {string} name */
function symbol(name) {
  return address(`shared/icons.svg#${name}`).href;
}

/**
 * @param {string} name  a symbol of icons.svg
 * @returns {SVGSVGElement}
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", symbol(name));
  svg.append(use);
  return svg;
}

/**
 * @param {Element} holder  an element with one icon inside
 * @param {string} name
 */
export function setIcon(holder, name) {
  const use = holder.querySelector("use");
  const href = symbol(name);
  if (use && use.getAttribute("href") !== href) use.setAttribute("href", href);
}

/**
 * An element of the page's index.html.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} type
 * @returns {T}
 */
export function byId(id, type) {
  const node = document.getElementById(id);
  if (!(node instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
  return node;
}

/**
 * Show a track in a media element, or nothing.
 * @param {HTMLMediaElement} player
 * @param {MediaStreamTrack | null} track
 */
export function showTrack(player, track) {
  const shown = player.srcObject instanceof MediaStream ? (player.srcObject.getTracks()[0] ?? null) : null;
  if (shown === track) return;
  player.srcObject = track ? new MediaStream([track]) : null;
  if (track) void player.play().catch(() => undefined);
}
