/**
 * The panel of sites: who is here, who asks for the floor, who waits outside;
 * for chair and secretary also what to do about it.
 */

import { confirm, toast } from "../shared/dialogs.js";
import { element, icon } from "../shared/dom.js";
import { plainLetters } from "../shared/letters.js";
import { arrange, PersonRow } from "./personrow.js";
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
  /** @type {string[]} in which the sites stand in the list */ #order = [];
  /** @type {Map<string, PersonRow>} by list and participant */ #rows = new Map();
  /** @type {Map<string, HTMLElement>} those who wait outside, by participant */ #waiting = new Map();

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
    this.waiting = new Section("people.waiting");
    this.hands = new Section("people.hands");
    this.all = new Section("people.all");
    this.none = element("p", { class: "quiet-text", text: "people.none" });
    this.more = element("p", { class: "quiet-text" });
    this.all.node.append(this.none, this.more);
    this.lists = element("div", { class: "people-lists" }, this.waiting.node, this.hands.node, this.all.node);
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
    this.#drawWaiting(state.mayModerate ? state.waiting : []);
    /** @type {Set<string>} */
    const drawn = new Set();
    /** @param {Member} member @param {"hand" | "all"} list */
    const row = (member, list) => {
      const key = `${list}-${member.participant}`;
      drawn.add(key);
      return this.#row(member, list, key);
    };
    // Whoever has lost the line cannot be given the floor.
    const hands = state.hands.filter(({ connected }) => connected);
    this.hands.show(hands.map((member) => row(member, "hand")));
    const wanted = plainLetters(this.search.value.trim());
    const found = [...state.roster.values()].filter(
      (member) => !wanted || plainLetters(`${member.site} ${member.name}`).includes(wanted),
    );
    // The worst first, for those who can do something about it; not while one of the rows is worked with.
    if (state.mayModerate && this.#open === null) found.sort((one, other) => state.need(one) - state.need(other));
    else this.#keepOrder(found);
    this.#order = found.map(({ participant }) => participant);
    this.all.show(found.slice(0, ROWS_MAX).map((member) => row(member, "all")), found.length);
    this.all.node.hidden = false;
    this.none.hidden = found.length > 0;
    this.more.hidden = found.length <= ROWS_MAX;
    if (!this.more.hidden) setText(this.more, "text", ["people.more", { count: found.length - ROWS_MAX }]);
    for (const key of this.#rows.keys()) if (!drawn.has(key)) this.#rows.delete(key);
  }

  /** @param {Member[]} members  put into the order in which they stand; newcomers last */
  #keepOrder(members) {
    const places = new Map(this.#order.map((participant, place) => [participant, place]));
    const place = (/** @type {Member} */ { participant }) => places.get(participant) ?? places.size;
    members.sort((one, other) => place(one) - place(other));
  }

  /** @param {import("../shared/types.js").Waiting[]} waiting */
  #drawWaiting(waiting) {
    const here = new Set(waiting.map(({ participant }) => participant));
    for (const participant of this.#waiting.keys()) if (!here.has(participant)) this.#waiting.delete(participant);
    this.waiting.show(
      waiting.map((one) => {
        const row = this.#waiting.get(one.participant) ?? this.#waitingRow(one);
        this.#waiting.set(one.participant, row);
        return row;
      }),
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
   * @param {string} key
   */
  #row(member, list, key) {
    const { state } = this.#conference;
    let row = this.#rows.get(key);
    if (!row) {
      const unfold = () => {
        this.#open = this.#open === key ? null : key;
        this.draw();
      };
      row = new PersonRow(key, member, { actions: this.#actions(), unfold });
      this.#rows.set(key, row);
    }
    row.draw(member, {
      isSelf: member.participant === state.self,
      isSpeaking: state.mayBeHeard(member) && state.voices.includes(member.participant),
      isRemoving: this.#removing.has(member.participant),
      isUndecodable: state.isUndecodable(member.participant),
      isOpen: this.#open === key,
      weakness: state.weak.get(member.participant) ?? null,
      mayModerate: state.mayModerate,
      order: list === "hand" ? state.handOrder(member) : null,
    });
    return row.node;
  }

  /**
   * What chair and secretary can do with a site, in this order.
   * @returns {import("./personrow.js").Action[]}
   */
  #actions() {
    const { state } = this.#conference;
    /** @param {Member} member */
    const isOther = (member) => member.participant !== state.self;
    /** @param {"content" | "auxiliary"} source */
    const show = (source) => (/** @type {Member} */ { participant }) => this.#send({ type: "show_content", participant, source });
    /** @param {"microphone" | "camera"} source */
    const mute = (source) => (/** @type {Member} */ { participant }) => this.#send({ type: "mute_participant", participant, source });
    /** @param {boolean} granted */
    const floor = (granted) => (/** @type {Member} */ { participant }) => this.#send({ type: "floor", participant, granted });
    return [
      { text: "people.stage", isOffered: () => true, run: ({ participant }) => this.#send({ type: "stage", participant }) },
      { text: "people.lowerHand", isOffered: ({ hand }) => hand !== null, run: ({ participant }) => this.#send({ type: "lower_hand", participant }) },
      { text: "people.showContent", isOffered: ({ content }) => content, run: show("content") },
      { text: "people.showAuxiliary", isOffered: ({ auxiliary }) => auxiliary, run: show("auxiliary") },
      { text: "people.mute", isOffered: (member) => isOther(member) && ["on", "interrupted"].includes(member.microphone), run: mute("microphone") },
      { text: "people.muteCamera", isOffered: (member) => isOther(member) && member.camera !== "off", run: mute("camera") },
      { text: "people.floor", isOffered: (member) => isOther(member) && member.role === "observer", run: floor(true), tone: "primary" },
      { text: "people.floor.end", isOffered: (member) => isOther(member) && member.role === "observer", run: floor(false) },
      { text: "people.remove", isOffered: (member) => isOther(member) && member.role !== "chair", run: (member) => this.#remove(member), tone: "danger" },
    ];
  }
}

/** A heading with a count, and the rows under it; not there without rows. */
class Section {
  /** @param {TextKey} title */
  constructor(title) {
    this.count = element("span", { class: "count" });
    this.list = element("ul");
    this.node = element(
      "section",
      { class: "people-section", hidden: true },
      element("h2", {}, element("span", { text: title }), this.count),
      this.list,
    );
  }

  /**
   * @param {HTMLElement[]} rows
   * @param {number} [count]  where not all have a row
   */
  show(rows, count = rows.length) {
    this.node.hidden = count === 0;
    this.count.textContent = String(count);
    arrange(this.list, rows);
  }
}
