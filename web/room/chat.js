/** The text chat of the room. */

import { toast } from "../shared/dialogs.js";
import { element, icon } from "../shared/dom.js";
import { clockTime } from "../shared/text/text.js";

/** @typedef {import("../shared/types.js").ChatLine} ChatLine */
/** @typedef {import("./conference.js").Conference} Conference */

const TEXT_MAX = 2000;

export class Chat {
  /** @type {Conference} */ #conference;
  /** @type {ChatLine | undefined} the newest line drawn */ #drawn;
  #count = 0;

  /**
   * @param {Conference} conference
   * @param {HTMLElement} holder
   */
  constructor(conference, holder) {
    this.#conference = conference;
    this.lines = element("ol", { class: "chat-lines" });
    // New lines are announced with everything else that is, not by the log itself: never too many at once.
    this.log = element(
      "div",
      { class: "chat-log", label: "chat.log", attributes: { role: "log", "aria-live": "off", tabindex: "0" } },
      this.lines,
    );
    this.empty = element("p", { class: "quiet-text chat-empty", text: "chat.empty" });
    this.input = element("textarea", {
      placeholder: "chat.placeholder",
      label: "chat.placeholder",
      attributes: { rows: "2", maxlength: String(TEXT_MAX) },
    });
    const form = element(
      "form",
      { class: "chat-form" },
      this.input,
      element("button", { class: "button primary icon-only", label: "chat.send", title: "chat.send", attributes: { type: "submit" } }, icon("send")),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#send();
    });
    this.input.addEventListener("keydown", (event) => {
      // Enter that ends a composed Vietnamese syllable is not the end of the message.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#send();
    });
    holder.replaceChildren(this.empty, this.log, form);
  }

  focus() {
    this.input.focus();
  }

  #send() {
    const text = this.input.value.trim();
    if (!text) return;
    if (this.#conference.connection.send({ type: "chat", text })) this.input.value = "";
    else toast("chat.notSent", { isWarning: true });
  }

  draw() {
    const { chat } = this.#conference.state;
    const newest = chat[chat.length - 1];
    this.empty.hidden = chat.length > 0;
    if (newest === this.#drawn && chat.length === this.#count) return;
    const from = this.#drawn ? chat.indexOf(this.#drawn) + 1 : 0;
    if (from === 0) this.lines.replaceChildren();
    const isAtEnd = this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
    for (const line of chat.slice(from)) this.lines.append(this.#line(line));
    while (this.lines.childElementCount > chat.length) this.lines.firstElementChild?.remove();
    this.#drawn = newest;
    this.#count = chat.length;
    if (isAtEnd || from === 0) this.log.scrollTop = this.log.scrollHeight;
  }

  /** @param {ChatLine} line */
  #line(line) {
    const time = new Date(line.at_ms);
    const isOwn = line.participant === this.#conference.state.self;
    return element(
      "li",
      { class: isOwn ? "chat-line own" : "chat-line" },
      element(
        "p",
        { class: "chat-from" },
        element("span", { class: "chat-site", value: line.site }),
        element("span", { class: "chat-name", value: line.name }),
        element("time", {
          value: clockTime(time),
          attributes: { datetime: time.toISOString() },
        }),
      ),
      element("p", { class: "chat-text", value: line.text }),
    );
  }
}
