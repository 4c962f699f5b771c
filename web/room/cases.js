/**
 * The panel of cases, for chair and secretary: which patients are discussed,
 * what they said about being recorded, and the recording itself.
 */

import { address } from "../shared/address.js";
import { closeDialog, confirm, toast } from "../shared/dialogs.js";
import { byId, element, icon } from "../shared/dom.js";
import { doubtOf, recordingAdvice, recordingText, shownState } from "./recording.js";
import { shortSite } from "../shared/sitename.js";
import { setText } from "../shared/text/text.js";
import { invitationIn } from "../shared/invitation.js";
import { Session } from "./session.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/types.js").CaseLine} CaseLine */
/** @typedef {import("../shared/types.js").Consent} Consent */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

const CODE = /^[A-Za-z0-9._-]{1,40}$/;
const REMOVAL_DELAY_MS = 5000;
const ANSWERS = /** @type {const} */ (["granted", "refused", "withdrawn"]);

export class Cases {
  /** @type {Conference} */ #conference;
  /** @type {Set<string>} removals that may still be undone */ #removing = new Set();
  /** @type {string | null} the code that was sent and is not on the list yet */ #sentCode = null;
  /** @type {string | null} the case in doubt that was asked about last, and since when it is */ #asked = null;
  #isAsking = false;
  #drawn = "";
  #drawnSites = "";
  /** @type {string | undefined} the case that was open when last looked */ #active;

  /**
   * @param {Conference} conference
   * @param {HTMLElement} holder
   */
  constructor(conference, holder) {
    this.#conference = conference;
    this.status = element("section", { class: "case-recording" });
    this.list = element("div", { class: "case-list" });
    this.code = element("input", {
      id: "case-code",
      attributes: { type: "text", autocomplete: "off", spellcheck: "false", maxlength: "40", "aria-describedby": "case-code-hint case-code-problem" },
    });
    this.problem = element("p", { id: "case-code-problem", class: "field-problem", attributes: { role: "alert" } });
    this.site = element("select", { id: "case-site" });
    this.form = this.#form();
    this.add = element(
      "button",
      { id: "case-add", class: "button", attributes: { "aria-controls": "case-form" }, click: () => this.#unfold(true) },
      icon("add"),
      element("span", { text: "cases.add" }),
    );
    this.foot = element("div", { class: "case-foot" }, this.add, this.#library());
    holder.replaceChildren(
      element("div", { class: "case-scroll" }, this.status, this.list),
      this.form,
      this.foot,
    );
    this.#unfold(conference.state.cases.length === 0, { withFocus: false });
  }

  /**
   * Show or hide the form; hidden, it leaves its place to the list, shown, it takes that of the foot.
   * @param {boolean} isOpen
   * @param {{withFocus?: boolean}} [options]
   */
  #unfold(isOpen, { withFocus = true } = {}) {
    this.form.hidden = !isOpen;
    this.add.hidden = isOpen;
    this.add.setAttribute("aria-expanded", String(isOpen));
    this.#drawFoot();
    if (withFocus) (isOpen ? this.code : this.add).focus();
  }

  #drawFoot() {
    this.foot.hidden = !this.form.hidden && this.#conference.state.cases.length > 0;
  }

  #form() {
    const form = element(
      "form",
      { id: "case-form", class: "case-form" },
      element(
        "div",
        { class: "row" },
        element("label", { class: "case-field", attributes: { for: "case-code" } }, element("span", { text: "cases.code" }), this.code),
        element("label", { class: "case-field", attributes: { for: "case-site" } }, element("span", { text: "cases.site" }), this.site),
      ),
      element("p", { id: "case-code-hint", class: "quiet-text", text: "cases.code.hint" }),
      this.problem,
      element(
        "div",
        { class: "case-actions" },
        element("button", { class: "button primary", attributes: { type: "submit" } }, icon("add"), element("span", { text: "cases.add" })),
        element("button", { class: "button narrow", text: "common.close", click: () => this.#unfold(false) }),
      ),
    );
    form.noValidate = true;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#add();
    });
    return form;
  }

  /** The recordings of this room; the invitation opens them, and stays out of every log in the fragment. */
  #library() {
    const invitation = new Session().invitation ?? invitationIn(location.hash);
    return element(
      "a",
      { class: "button case-library", attributes: { href: `${address("library/").href}#i=${invitation ?? ""}`, target: "_blank", rel: "noopener" } },
      icon("archive"),
      element("span", { text: "cases.library" }),
    );
  }

  /** @param {{type: string, [key: string]: unknown}} message */
  #send(message) {
    const isSent = this.#conference.connection.send(message);
    if (!isSent) toast("cases.notSent", { isWarning: true });
    return isSent;
  }

  #add() {
    const code = this.code.value.trim();
    const isRight = CODE.test(code);
    this.code.setAttribute("aria-invalid", String(!isRight));
    if (isRight) this.problem.textContent = "";
    else {
      setText(this.problem, "text", "cases.code.invalid");
      this.code.focus();
      return;
    }
    if (this.#send({ type: "add_case", code, participant: this.site.value || null })) this.#sentCode = code;
  }

  /** @param {CaseLine} line */
  #remove(line) {
    const { case: number } = line;
    if (this.#removing.has(number)) return;
    this.#removing.add(number);
    toast(["cases.removing", { case: number }], {
      durationMs: REMOVAL_DELAY_MS,
      action: {
        text: "common.undo",
        run: () => {
          this.#removing.delete(number);
          this.draw();
        },
      },
      ended: () => {
        if (this.#removing.delete(number)) this.#send({ type: "remove_case", case: number });
      },
    });
    this.draw();
  }

  /** @param {CaseLine} line */
  async #start({ case: number }) {
    const { state } = this.#conference;
    let asked = "";
    // Somebody else may go on to yet another case while the question is open: then it is another question.
    for (let { active } = state; active && active.case !== asked; { active } = state) {
      asked = active.case;
      const isSure = await confirm(
        ["cases.switch.confirm.title", { active: active.case, case: number }],
        "cases.switch.confirm.text",
        { yes: "cases.switch", no: "common.cancel" },
      );
      if (!isSure) return;
    }
    // The list of cases is made; now the discussion needs the place.
    if (this.#send({ type: "start_case", case: number })) this.#unfold(false, { withFocus: false });
  }

  /** @param {CaseLine} line */
  async #finish({ case: number }) {
    if (this.#conference.state.recording.state === "recording") {
      const isSure = await confirm(["cases.finish.confirm.title", { case: number }], "cases.finish.confirm.text", {
        yes: "cases.finish",
        no: "common.cancel",
      });
      if (!isSure) return;
    }
    this.#send({ type: "finish_case", case: number });
  }

  /**
   * @param {CaseLine} line
   * @param {typeof ANSWERS[number]} state
   */
  async #consent({ case: number, consent }, state) {
    if (state === consent) return;
    // A slip of the finger must neither begin a recording nor end one.
    const isSure =
      state === "refused" && consent === "unknown"
        ? true
        : await confirm([`cases.consent.confirm.${state}.title`, { case: number }], `cases.consent.confirm.${state}.text`, {
            yes: `cases.consent.confirm.${state}`,
            no: "common.cancel",
            isDangerous: state !== "granted",
          });
    if (isSure) this.#send({ type: "consent", case: number, state });
  }

  /** @param {"pause" | "resume" | "stop" | "start"} action */
  async #record(action) {
    if (action === "stop") {
      const isSure = await confirm("recording.stop.confirm.title", "recording.stop.confirm.text", {
        yes: "recording.stop",
        no: "common.cancel",
        isDangerous: true,
      });
      if (!isSure) return;
    }
    this.#send({ type: "record", action });
  }

  /** Ask whoever moderates, whatever they look at, whether the case goes on that was left or interrupted. */
  askOnce() {
    const { state } = this.#conference;
    const { recording, active } = state;
    const doubt = state.mayModerate && active ? doubtOf(recording) : null;
    const asked = doubt && active ? `${active.case} ${recording.since_ms}` : null;
    if (this.#isAsking && asked !== this.#asked) closeDialog();
    // What somebody does in another dialog is not taken from them: the next drawing asks.
    if (!asked || asked === this.#asked || byId("dialog", HTMLDialogElement).open) return;
    this.#asked = asked;
    void this.#ask();
  }

  async #ask() {
    const { active, recording } = this.#conference.state;
    const doubt = doubtOf(recording);
    if (!active || !doubt) return;
    const { case: number, code, site } = active;
    this.#isAsking = true;
    const isSame = await confirm(
      site ? ["cases.doubt.title", { case: number, code, site }] : ["cases.doubt.title.noSite", { case: number, code }],
      `cases.doubt.${doubt}`,
      { yes: "cases.doubt.confirm", no: "cases.doubt.later" },
    );
    this.#isAsking = false;
    if (isSame) this.#send({ type: "confirm_case", case: number, code });
  }

  draw() {
    const { state } = this.#conference;
    this.#drawSites();
    this.#drawFoot();
    if (this.#sentCode && state.cases.some(({ code }) => code === this.#sentCode)) {
      if (this.code.value.trim() === this.#sentCode) this.code.value = "";
      this.#sentCode = null;
    }
    const active = state.active?.case;
    // What the patient of the open case says matters more than the next case, unless that is being typed.
    if (active && active !== this.#active && !this.code.value && !this.form.contains(document.activeElement)) {
      this.#unfold(false, { withFocus: false });
    }
    this.#active = active;
    const drawing = JSON.stringify([state.cases, state.recording, [...this.#removing], document.documentElement.lang]);
    if (drawing === this.#drawn) return;
    this.#drawn = drawing;
    const focused = document.activeElement instanceof HTMLElement ? document.activeElement.dataset.focus : undefined;
    this.#drawStatus();
    this.#drawList();
    if (!focused) return;
    const again = this.list.parentElement?.querySelector(`[data-focus="${CSS.escape(focused)}"]`);
    if (again instanceof HTMLElement) again.focus();
  }

  /** The choice of presenting sites, as long as nobody is choosing. */
  #drawSites() {
    const { state } = this.#conference;
    const sites = new Map([...state.roster.values()].map(({ site, participant }) => [site, participant]));
    const drawing = JSON.stringify([...sites]);
    if (drawing === this.#drawnSites || document.activeElement === this.site) return;
    this.#drawnSites = drawing;
    const chosen = this.site.selectedOptions[0]?.dataset.site;
    this.site.replaceChildren(element("option", { text: "cases.site.none", attributes: { value: "" } }));
    for (const [site, participant] of sites) {
      const option = element("option", { value: shortSite(site), attributes: { value: participant } });
      option.dataset.site = site;
      option.selected = site === chosen;
      this.site.append(option);
    }
  }

  #drawStatus() {
    const { recording } = this.#conference.state;
    const { state } = recording;
    const isInDoubt = doubtOf(recording) !== null;
    /** @type {["pause" | "resume" | "stop" | "start", string][]} */
    const actions = [];
    if (state === "recording") actions.push(["pause", "pause"]);
    if (state === "paused" && !isInDoubt) actions.push(["resume", "record"]);
    if (state === "recording" || state === "paused") actions.push(["stop", "stop"]);
    if (state === "stopped" || state === "failed") actions.push(["start", "record"]);
    this.status.dataset.state = shownState(recording);
    this.status.replaceChildren(
      element("p", { class: "case-recording-state", text: recordingText(recording) }),
      element("p", { class: "quiet-text", text: recordingAdvice(recording) }),
      element("div", { class: "case-actions", hidden: actions.length === 0 }, isInDoubt ? this.#confirmation() : null, ...actions.map(([action, symbol]) => this.#action(action, symbol))),
    );
  }

  #confirmation() {
    const button = element("button", { class: "button primary", click: () => void this.#ask() }, icon("check"), element("span", { text: "cases.doubt.confirm" }));
    button.dataset.focus = "record-pause";
    return button;
  }

  /**
   * @param {"pause" | "resume" | "stop" | "start"} action
   * @param {string} symbol
   */
  #action(action, symbol) {
    const button = element(
      "button",
      { class: action === "resume" || action === "start" ? "button primary" : "button", click: () => void this.#record(action) },
      icon(symbol),
      element("span", { text: `recording.${action}` }),
    );
    // Pause becomes resume in the same place: whoever pressed it by key can press again.
    button.dataset.focus = action === "stop" || action === "start" ? "record-stop" : "record-pause";
    // But a key that is held down must not pause and resume many times a second.
    button.addEventListener("keydown", (event) => {
      if (event.repeat) event.preventDefault();
    });
    return button;
  }

  #drawList() {
    const { cases } = this.#conference.state;
    if (cases.length === 0) {
      this.list.replaceChildren(element("p", { class: "quiet-text", text: "cases.empty" }));
      return;
    }
    this.list.replaceChildren(
      element("ul", { label: "cases.title" }, ...cases.map((line) => this.#row(line))),
      element("p", { class: "quiet-text case-sensitive" }, icon("lock"), element("span", { text: "cases.sensitive" })),
    );
  }

  /** @param {CaseLine} line */
  #row(line) {
    const { case: number, code, site, state } = line;
    const row = element(
      "li",
      { class: "case" },
      element(
        "div",
        { class: "case-head" },
        element("span", { class: "case-number", value: number }),
        element(
          "div",
          { class: "person-words" },
          element("span", { class: "person-site", value: code }),
          site ? element("span", { class: "person-name", value: site }) : null,
        ),
        element("span", { class: state === "active" ? "chip strong" : "chip", text: `cases.state.${state}` }),
      ),
      state === "finished" ? this.#answer(line) : this.#answers(line),
    );
    row.dataset.case = number;
    row.dataset.state = state;
    row.classList.toggle("removing", this.#removing.has(number));
    if (state !== "finished") row.append(this.#steps(line));
    return row;
  }

  /** @param {CaseLine} line  a finished case: what was said, and that it can still be taken back */
  #answer(line) {
    const { case: number, consent } = line;
    const words = element("p", { class: "quiet-text case-answer", text: `cases.consent.${consent}` });
    if (consent !== "granted") return words;
    const button = element("button", { class: "button", click: () => void this.#withdrawLate(line) }, element("span", { text: "cases.consent.confirm.withdrawn" }));
    button.dataset.focus = `consent-withdrawn-${number}`;
    return element("div", { class: "case-consent" }, words, element("div", { class: "case-actions" }, button));
  }

  /** @param {CaseLine} line  a finished case, whose recording may be sealed and on its way by now */
  async #withdrawLate({ case: number, code }) {
    const isSure = await confirm(["cases.consent.late.title", { case: number, code }], "cases.consent.late.text", {
      yes: "cases.consent.confirm.withdrawn",
      no: "common.cancel",
      isDangerous: true,
    });
    if (isSure) this.#send({ type: "consent", case: number, state: "withdrawn" });
  }

  /** @param {CaseLine} line */
  #answers(line) {
    const { case: number, consent } = line;
    const choices = element("div", { class: "case-choices", attributes: { role: "group" } });
    setText(choices, "label", ["cases.consent.question.label", { case: number }]);
    for (const answer of ANSWERS) {
      const isChosen = consent === answer;
      const button = element(
        "button",
        {
          class: `choice ${answer}`,
          attributes: { "aria-pressed": String(isChosen) },
          click: () => void this.#consent(line, answer),
        },
        isChosen ? icon("check") : null,
        element("span", { text: `cases.consent.choose.${answer}` }),
      );
      button.disabled = answer === "withdrawn" && consent !== "granted" && !isChosen;
      button.dataset.focus = `consent-${answer}-${number}`;
      choices.append(button);
    }
    return element(
      "div",
      { class: "case-consent" },
      element(
        "p",
        { class: "case-question" },
        element("span", { text: "cases.consent.question" }),
        consent === "unknown" ? element("strong", { class: "case-unasked", text: "cases.consent.unknown" }) : null,
      ),
      choices,
    );
  }

  /** @param {CaseLine} line */
  #steps(line) {
    const { case: number, state } = line;
    const steps = element("div", { class: "case-actions" });
    /** @param {TextKey} text @param {HTMLButtonElement} button */
    const add = (text, button) => {
      button.dataset.focus = `${text}-${number}`;
      button.disabled = this.#removing.has(number);
      steps.append(button);
    };
    if (state === "active") {
      add("cases.finish", element("button", { class: "button", click: () => void this.#finish(line) }, icon("check"), element("span", { text: "cases.finish" })));
    } else {
      add("cases.start", element("button", { class: "button primary", click: () => void this.#start(line) }, icon("next"), element("span", { text: "cases.start" })));
      add("cases.remove", element("button", { class: "button narrow", label: "cases.remove", title: "cases.remove", click: () => this.#remove(line) }, icon("close")));
    }
    return steps;
  }
}
