/**
 * The panel of sites: who is here, who asks for the floor, who waits outside;
 * for chair and secretary also what to do about it.
 */

import { confirm, toast } from "../shared/dialogs.js";
import { element, icon } from "../shared/dom.js";
import { plainLetters } from "../shared/letters.js";
import { setText } from "../shared/text/text.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/types.js").Member} Member */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

/** More rows than anybody reads; the search finds the others. */
const ROWS_MAX = 200;
const REMOVAL_DELAY_MS = 5000;

export class Moderation {
  /** @type {Conference} */ #conference;
  /** @type {string | null} whose actions are unfolded */ #open = null;
  /** @type {Set<string>} removals that may still be undone */ #removing = new Set();
  #drawn = "";

  /**
   * @param {Conference} conference
   * @param {HTMLElement} holder
   */
  constructor(conference, holder) {
    this.#conference = conference;
    this.search = element("input", {
      label: "people.search",
      placeholder: "people.search",
      attributes: { type: "search", autocomplete: "off" },
    });
    this.search.addEventListener("input", () => this.draw());
    this.lists = element("div", { class: "people-lists" });
    this.lock = element("button", { class: "button", click: () => this.#send({ type: "lock", locked: !conference.state.isLocked }) }, icon("lock"), element("span"));
    this.follow = element("button", { class: "button", click: () => this.#send({ type: "stage", participant: null }) }, icon("stage"), element("span", { text: "people.followSpeaker" }));
    this.tools = element(
      "div",
      { class: "people-tools" },
      element("button", { class: "button", click: () => void this.#muteAll() }, icon("mic-off"), element("span", { text: "people.muteAll" })),
      this.lock,
      this.follow,
    );
    holder.replaceChildren(this.search, this.lists, this.tools);
  }

  /** @param {{type: string, [key: string]: unknown}} message */
  #send(message) {
    this.#conference.connection.send(message);
  }

  async #muteAll() {
    const isSure = await confirm("people.muteAll.confirm.title", "people.muteAll.confirm.text", {
      yes: "people.muteAll",
      no: "common.cancel",
    });
    if (!isSure) return;
    this.#send({ type: "mute_all" });
    toast("people.muteAll.done");
  }

  /** @param {Member} member */
  #remove(member) {
    const { participant, site } = member;
    if (this.#removing.has(participant)) return;
    this.#removing.add(participant);
    this.#open = null;
    toast(["people.removing", { site }], {
      isWarning: true,
      durationMs: REMOVAL_DELAY_MS,
      action: {
        text: "common.undo",
        run: () => {
          this.#removing.delete(participant);
          this.draw();
        },
      },
      ended: () => {
        if (this.#removing.delete(participant)) this.#send({ type: "remove", participant });
      },
    });
    this.draw();
  }

  draw() {
    const { state } = this.#conference;
    this.tools.hidden = !state.mayModerate;
    this.follow.disabled = state.stage.mode !== "chair";
    const lockText = this.lock.querySelector("span");
    if (lockText) setText(lockText, "text", state.isLocked ? "people.unlock" : "people.lock");
    // Rebuilding rows under somebody's finger is worse than drawing late: only when something differs.
    const wanted = plainLetters(this.search.value.trim());
    const drawing = JSON.stringify([
      [...state.roster.values()],
      state.waiting,
      state.role,
      state.content,
      state.voices,
      this.#open,
      [...this.#removing],
      wanted,
      document.documentElement.lang,
    ]);
    if (drawing === this.#drawn) return;
    this.#drawn = drawing;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.focus : undefined;
    this.lists.replaceChildren(...this.#sections(wanted));
    if (!focused) return;
    const again = this.lists.querySelector(`[data-focus="${CSS.escape(focused)}"]`);
    if (again instanceof HTMLElement) again.focus();
  }

  /** @param {string} wanted */
  #sections(wanted) {
    const { state } = this.#conference;
    /** @type {HTMLElement[]} */
    const sections = [];
    if (state.mayModerate && state.waiting.length > 0) {
      sections.push(this.#section("people.waiting", state.waiting.map((waiting) => this.#waitingRow(waiting)), state.waiting.length));
    }
    const { hands } = state;
    if (hands.length > 0) sections.push(this.#section("people.hands", hands.map((member) => this.#row(member, "hand")), hands.length));
    const found = [...state.roster.values()].filter(
      (member) => !wanted || plainLetters(`${member.site} ${member.name}`).includes(wanted),
    );
    const rows = found.slice(0, ROWS_MAX).map((member) => this.#row(member, "all"));
    const section = this.#section("people.all", rows, found.length);
    if (found.length === 0) section.append(element("p", { class: "quiet-text", text: "people.none" }));
    if (found.length > ROWS_MAX) {
      section.append(element("p", { class: "quiet-text", text: ["people.more", { count: found.length - ROWS_MAX }] }));
    }
    sections.push(section);
    return sections;
  }

  /**
   * @param {TextKey} title
   * @param {HTMLElement[]} rows
   * @param {number} count
   */
  #section(title, rows, count) {
    return element(
      "section",
      { class: "people-section" },
      element("h3", {}, element("span", { text: title }), element("span", { class: "count", value: String(count) })),
      element("ul", {}, ...rows),
    );
  }

  /** @param {import("../shared/types.js").Waiting} waiting */
  #waitingRow({ participant, site, name }) {
    /** @param {boolean} admitted */
    const answer = (admitted) => this.#send({ type: "admit", participant, admitted });
    return element(
      "li",
      { class: "person" },
      element("div", { class: "person-words" }, element("span", { class: "person-site", value: site }), element("span", { class: "person-name", value: name })),
      element("button", { class: "button primary", text: "people.admit", click: () => answer(true) }),
      element("button", { class: "button", text: "people.refuse", click: () => answer(false) }),
    );
  }

  /**
   * @param {Member} member
   * @param {"hand" | "all"} list
   */
  #row(member, list) {
    const { state } = this.#conference;
    const isSelf = member.participant === state.self;
    const key = `${list}-${member.participant}`;
    const isOpen = this.#open === key;
    const words = element(
      "div",
      { class: "person-words" },
      element("span", { class: "person-site", value: member.site }),
      element(
        "span",
        { class: "person-name" },
        element("span", { value: member.name }),
        isSelf ? element("span", { class: "chip", text: "common.you" }) : null,
        member.role === "chair" || member.role === "secretary"
          ? element("span", { class: "chip strong", text: `role.${member.role}` })
          : element("span", { class: "chip", text: `role.${member.role}` }),
      ),
    );
    const row = element(
      "li",
      { class: "person" },
      list === "hand" ? element("span", { class: "person-order", value: String(state.handOrder(member)) }) : null,
      words,
      this.#marks(member),
    );
    row.classList.toggle("away", !member.connected);
    row.classList.toggle("removing", this.#removing.has(member.participant));
    row.classList.toggle("speaking", member.microphone === "on" && state.voices.includes(member.participant));
    if (!state.mayModerate) return row;
    const unfold = element(
      "button",
      {
        class: "icon-button",
        label: ["people.actions", { site: member.site }],
        attributes: { "aria-expanded": String(isOpen) },
        click: () => {
          this.#open = isOpen ? null : key;
          this.draw();
        },
      },
      icon("more"),
    );
    unfold.dataset.focus = `unfold-${key}`;
    row.append(unfold);
    if (isOpen) row.append(this.#actions(member, isSelf));
    return row;
  }

  /** @param {Member} member */
  #marks(member) {
    const isOn = member.microphone === "on";
    /** @param {string} name @param {TextKey} label @param {string} [tone] */
    const mark = (name, label, tone = "") =>
      element("span", { class: `mark ${tone}`, label, title: label, attributes: { role: "img" } }, icon(name));
    return element(
      "div",
      { class: "marks" },
      member.connected ? null : mark("warning", "people.state.disconnected", "warning"),
      member.content || member.auxiliary ? mark("screen", "people.state.sharing", "good") : null,
      member.camera === "on" ? null : mark("camera-off", member.camera === "off" ? "people.state.camera.off" : "people.state.camera.interrupted"),
      // Taken by a call, it was not its owner who muted it.
      member.microphone === "interrupted"
        ? mark("mic-off", "people.state.mic.interrupted", "warning")
        : mark(isOn ? "mic" : "mic-off", isOn ? "people.state.mic.on" : "people.state.mic.off", isOn ? "good" : "bad"),
    );
  }

  /**
   * @param {Member} member
   * @param {boolean} isSelf
   */
  #actions(member, isSelf) {
    const { participant } = member;
    const actions = element("div", { class: "person-actions" });
    /** @param {TextKey} text @param {() => void} run @param {string} [tone] */
    const add = (text, run, tone = "") => {
      const button = element("button", { class: `button ${tone}`, text, click: run });
      button.dataset.focus = `${text}-${participant}`;
      actions.append(button);
    };
    add("people.stage", () => this.#send({ type: "stage", participant }));
    if (member.hand !== null) {
      add("people.lowerHand", () => this.#send({ type: "lower_hand", participant }));
    }
    if (member.content) add("people.showContent", () => this.#send({ type: "show_content", participant, source: "content" }));
    if (member.auxiliary) {
      add("people.showAuxiliary", () => this.#send({ type: "show_content", participant, source: "auxiliary" }));
    }
    if (isSelf) return actions;
    if (member.microphone === "on" || member.microphone === "interrupted") {
      add("people.mute", () => this.#send({ type: "mute_participant", participant, source: "microphone" }));
    }
    if (member.camera !== "off") {
      add("people.muteCamera", () => this.#send({ type: "mute_participant", participant, source: "camera" }));
    }
    if (member.role === "observer") {
      add("people.floor", () => this.#send({ type: "floor", participant, granted: true }), "primary");
      add("people.floor.end", () => this.#send({ type: "floor", participant, granted: false }));
    }
    if (member.role !== "chair") add("people.remove", () => this.#remove(member), "danger");
    return actions;
  }
}
