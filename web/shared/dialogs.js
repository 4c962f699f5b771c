/**
 * What speaks to the user over the page: toasts, the one dialog, the full-page
 * notice.
 */

import { announce } from "./announce.js";
import { byId, element, icon } from "./dom.js";
import { clearText, setText } from "./text/text.js";

/** @typedef {import("./text/text.js").Text} Text */
/** @typedef {import("./text/text.js").TextKey} TextKey */

const TOAST_MS = 5000;
const TOASTS_MAX = 4;

/**
 * A short message at the edge of the page, with at most one thing to do.
 * @param {Text} text
 * @param {{action?: {text: TextKey, run: () => void}, durationMs?: number, isWarning?: boolean, ended?: () => void}} [options]
 */
export function toast(text, options = {}) {
  const holder = byId("toasts", HTMLElement);
  const { action, durationMs = TOAST_MS, isWarning = false, ended } = options;
  const note = element(
    "div",
    { class: isWarning ? "toast warning" : "toast" },
    isWarning ? icon("warning") : null,
    element("p", { text }),
  );
  const timer = setTimeout(() => {
    note.remove();
    ended?.();
  }, durationMs);
  if (action) {
    const act = () => {
      clearTimeout(timer);
      note.remove();
      action.run();
    };
    note.append(element("button", { class: "button quiet", text: action.text, click: act }));
  }
  holder.append(note);
  const [key, parameters] = Array.isArray(text) ? text : [text, undefined];
  announce(key, parameters, isWarning ? "urgent" : "polite");
  if (holder.childElementCount > TOASTS_MAX) {
    // The oldest goes; not one that still offers to undo something.
    const oldest = [...holder.children].find((one) => one !== note && !one.querySelector("button"));
    oldest?.remove();
  }
}

/** Close the dialog, if one is open: what it speaks of is gone. */
export function closeDialog() {
  const dialog = byId("dialog", HTMLDialogElement);
  if (!dialog.open) return;
  dialog.close();
  endDialog(dialog);
}

/** @type {(() => void) | undefined} what the dialog that is open now wants to know of its end */
let ended;

/** @param {HTMLDialogElement} dialog */
function endDialog(dialog) {
  const tell = ended;
  ended = undefined;
  dialog.replaceChildren();
  tell?.();
}

/**
 * Open the dialog with this content; Escape and the cross close it.
 * @param {Text} title
 * @param {Node[]} content
 * @param {{closed?: () => void}} [options]
 * @returns {HTMLDialogElement}
 */
export function openDialog(title, content, { closed } = {}) {
  const dialog = byId("dialog", HTMLDialogElement);
  if (dialog.open) dialog.close();
  endDialog(dialog);
  ended = closed;
  const close = element("button", { class: "icon-button", label: "common.close", click: () => dialog.close() }, icon("close"));
  dialog.replaceChildren(
    element("header", { class: "dialog-head" }, element("h2", { id: "dialog-title", text: title }), close),
    ...content,
  );
  dialog.onclose = () => {
    // The event comes late: by then another dialog may have been opened in the same element.
    if (!dialog.open) endDialog(dialog);
  };
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close();
  };
  dialog.showModal();
  return dialog;
}

/**
 * @param {Text} title
 * @param {Text} text
 * @param {{yes: TextKey, no: TextKey, isDangerous?: boolean}} words
 * @returns {Promise<boolean>}
 */
export function confirm(title, text, { yes, no, isDangerous = false }) {
  return new Promise((resolve) => {
    let isAgreed = false;
    const agree = element("button", {
      class: isDangerous ? "button danger" : "button primary",
      text: yes,
      click: () => {
        isAgreed = true;
        dialog.close();
      },
    });
    const refuse = element("button", { class: "button", text: no, click: () => dialog.close() });
    const dialog = openDialog(
      title,
      [element("p", { text }), element("div", { class: "row dialog-actions" }, refuse, agree)],
      { closed: () => resolve(isAgreed) },
    );
    agree.focus();
  });
}

/**
 * Fill the full-page notice (loading, errors, waiting, left).
 * @param {object} notice
 * @param {TextKey} notice.title
 * @param {Text} [notice.text]
 * @param {string} [notice.literal]  a sentence the bridge sent in the user's language
 * @param {boolean} [notice.isBusy]
 * @param {boolean} [notice.asksLink]
 * @param {{text: TextKey, run: () => void, isPrimary?: boolean}[]} [notice.actions]
 */
export function showNotice({ title, text, literal, isBusy = false, asksLink = false, actions = [] }) {
  setText(byId("notice-title", HTMLElement), "text", title);
  const body = byId("notice-text", HTMLElement);
  clearText(body, "text");
  if (text) setText(body, "text", text);
  else if (literal) body.textContent = literal;
  byId("notice-progress", HTMLElement).hidden = !isBusy;
  byId("notice-link", HTMLElement).hidden = !asksLink;
  byId("notice-actions", HTMLElement).replaceChildren(
    ...actions.map((action) =>
      element("button", {
        class: action.isPrimary ? "button primary large" : "button large",
        text: action.text,
        click: action.run,
      }),
    ),
  );
}
