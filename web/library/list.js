/**
 * The list of recordings: search, filters, rows that follow what moves.
 */

import { byId, element, icon } from "../shared/dom.js";
import { shortSite } from "../shared/sitename.js";
import { clearText, setText } from "../shared/text/text.js";
import { findPackages, LibraryFailed } from "./api.js";
import { failureText } from "./failures.js";
import * as format from "./format.js";
import { failure, progressBar, stateChip } from "./states.js";

/** @typedef {import("./types.js").PackageSummary} PackageSummary */
/** @typedef {import("./types.js").Wishes} Wishes */

const TYPING_MS = 300;
const SITES_SHOWN = 3;

/** What the choices of the filter mean to the API. @type {Record<string, string>} */
const STATES = {
  all: "",
  recording: "ongoing,recording",
  working: "queued,repairing,composing,sealing,delivering",
  archived: "sealed,delivered",
  failed: "failed",
};

/** The choice that asks for no state: what is held back may be in any. */
const UNDECIDED = "undecided";

export class List {
  /**
   * @param {object} hooks
   * @param {(id: string) => Promise<void>} hooks.retry
   * @param {(error: unknown) => boolean} hooks.failed  whether the page deals with the failure itself
   */
  constructor(hooks) {
    this.hooks = hooks;
    /** @type {PackageSummary[]} */
    this.packages = [];
    this.total = 0;
    /** @type {string | null} */
    this.cursor = null;
    /** Which answer is awaited; earlier ones come too late. */
    this.question = 0;
    this.isLoaded = false;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.typing = undefined;
    this.rows = byId("recordings", HTMLUListElement);
    this.form = byId("search-form", HTMLFormElement);
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      void this.search();
    });
    this.form.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => void this.search(), TYPING_MS);
    });
    byId("search-clear", HTMLButtonElement).addEventListener("click", () => {
      this.form.reset();
      void this.search();
      byId("search-text", HTMLInputElement).focus();
    });
    byId("more", HTMLButtonElement).addEventListener("click", () => void this.more());
  }

  /** @returns {Wishes} */
  get wishes() {
    const data = new FormData(this.form);
    const value = (/** @type {string} */ name) => String(data.get(name) ?? "").trim();
    const undecided = value("state") === UNDECIDED ? "1" : "";
    return { q: value("q"), from: value("from"), to: value("to"), state: STATES[value("state")] ?? "", undecided };
  }

  get isNarrowed() {
    return Object.values(this.wishes).some((wish) => wish !== "");
  }

  async search() {
    clearTimeout(this.typing);
    const question = ++this.question;
    byId("list", HTMLElement).setAttribute("aria-busy", "true");
    try {
      const page = await findPackages(this.wishes, null);
      if (question !== this.question) return;
      this.isLoaded = true;
      this.packages = page.packages;
      this.total = page.total;
      this.cursor = page.cursor;
      this.render();
    } catch (error) {
      if (question === this.question) this.complain(error);
    } finally {
      if (question === this.question) byId("list", HTMLElement).removeAttribute("aria-busy");
    }
  }

  async more() {
    if (this.cursor === null) return;
    const question = ++this.question;
    const before = this.packages.length;
    try {
      const page = await findPackages(this.wishes, this.cursor);
      if (question !== this.question) return;
      // Newer recordings may have pushed some of the last page into this one.
      const known = new Set(this.packages.map(({ id }) => id));
      this.packages.push(...page.packages.filter(({ id }) => !known.has(id)));
      this.total = page.total;
      this.cursor = page.cursor;
      this.render();
      this.rows.children[before]?.querySelector("a")?.focus();
    } catch (error) {
      if (question === this.question) this.complain(error);
    }
  }

  /**
   * Take what is known now of packages that are shown already.
   * @param {PackageSummary[]} changed
   */
  update(changed) {
    const news = new Map(changed.map((entry) => [entry.id, entry]));
    this.packages.forEach((entry, index) => {
      const now = news.get(entry.id);
      if (!now || JSON.stringify(now) === JSON.stringify(entry)) return;
      this.packages[index] = now;
      const row = this.rows.children[index];
      if (!row) return;
      const focused = row.contains(document.activeElement) ? document.activeElement?.getAttribute("data-focus") : null;
      const fresh = this.row(now);
      row.replaceWith(fresh);
      const again = focused ? fresh.querySelector(`[data-focus="${focused}"]`) : null;
      if (again instanceof HTMLElement) again.focus();
    });
  }

  render() {
    const focused = document.activeElement?.closest(".recording")?.getAttribute("data-package");
    this.rows.replaceChildren(...this.packages.map((entry) => this.row(entry)));
    const again = focused ? this.rows.querySelector(`[data-package="${focused}"] a`) : null;
    if (again instanceof HTMLElement) again.focus();
    const isEmpty = this.packages.length === 0;
    const empty = byId("list-empty", HTMLElement);
    empty.hidden = !isEmpty;
    if (isEmpty) {
      setText(byId("list-empty-title", HTMLElement), "text", this.isNarrowed ? "library.none.title" : "library.empty.title");
      setText(byId("list-empty-text", HTMLElement), "text", this.isNarrowed ? "library.none.text" : "library.empty.text");
    }
    byId("list-problem", HTMLElement).hidden = true;
    byId("search-clear", HTMLElement).hidden = !this.isNarrowed;
    byId("more", HTMLElement).hidden = this.cursor === null;
    const count = byId("list-count", HTMLElement);
    if (isEmpty) clearText(count, "text");
    else setText(count, "text", ["library.count", { shown: this.packages.length, total: this.total }]);
  }

  /** @param {unknown} error */
  complain(error) {
    if (!(error instanceof LibraryFailed)) throw error;
    if (this.hooks.failed(error)) return;
    const problem = byId("list-problem", HTMLElement);
    setText(byId("list-problem-text", HTMLElement), "text", failureText(error));
    problem.hidden = false;
  }

  /** @param {PackageSummary} entry */
  row(entry) {
    const link = element("a", {
      class: "recording-title",
      value: entry.title,
      attributes: { href: `#p=${entry.id}`, "data-focus": "open" },
    });
    const head = element("div", { class: "recording-head" }, link, caseChip(entry), consentChip(entry), holdChip(entry));
    const row = element(
      "li",
      { class: "recording", attributes: { "data-package": entry.id, "data-state": entry.state } },
      element("div", { class: "recording-words" }, head, facts(entry)),
      element("div", { class: "recording-state" }, stateChip(entry), progressBar(entry), failure(entry), this.retryButton(entry)),
    );
    row.addEventListener("click", (event) => {
      // The whole row opens the recording; what is a control of its own does its own.
      if (event.target instanceof Element && event.target.closest("a, button")) return;
      if (!getSelection()?.isCollapsed) return;
      link.click();
    });
    return row;
  }

  /** @param {PackageSummary} entry */
  retryButton(entry) {
    if (!entry.error) return null;
    const button = element(
      "button",
      { class: "button", attributes: { "data-focus": "retry" } },
      icon("retry"),
      element("span", { text: "library.retry" }),
    );
    button.addEventListener("click", () => {
      button.disabled = true;
      void this.hooks.retry(entry.id).finally(() => (button.disabled = false));
    });
    return button;
  }
}

/** @param {PackageSummary} entry */
export function caseChip(entry) {
  if (!entry.case) return element("span", { class: "chip", text: "library.wholeSession" });
  const code = entry.code ?? "";
  return element("span", { class: "chip strong", text: ["library.case", { number: Number(entry.case.slice(1)), code }] });
}

/** @param {PackageSummary} entry */
export function holdChip(entry) {
  if (!entry.legal_hold) return null;
  return element("span", { class: "chip hold" }, icon("lock"), element("span", { text: "library.hold.chip" }));
}

/**
 * What the patient said, where it is not a yes, and what was decided then.
 * @param {PackageSummary} entry
 */
export function consentChip(entry) {
  const { consent, disposition } = entry;
  if (disposition) {
    const state = isWithheld(entry) ? "withheld" : "kept";
    return element("span", { class: "chip consent", attributes: { "data-consent": state } }, icon("warning"), element("span", { text: `library.disposition.${disposition}.chip` }));
  }
  if (!consent || consent === "granted") return null;
  return element("span", { class: "chip", attributes: { "data-consent": consent } }, element("span", { text: `library.consent.${consent}` }));
}

/** @param {PackageSummary} entry  whether the archive alone may open it */
export function isWithheld({ disposition }) {
  return disposition !== null && disposition !== "keep";
}

/** @param {PackageSummary} entry */
function facts(entry) {
  const time = `${format.hour(entry.started_ms)}–${format.hour(entry.ended_ms)}`;
  const parts = [element("span", { class: "recording-date", value: `${format.day(entry.started_ms)}  ${time}` })];
  if (entry.duration_ms > 0) {
    parts.push(element("span", { text: ["library.length", { length: format.length(entry.duration_ms) }] }));
  }
  const names = entry.sites.slice(0, SITES_SHOWN).map(shortSite).join(" · ");
  const others = entry.sites.length - SITES_SHOWN;
  const sites = element("span", { class: "recording-sites", value: names });
  if (others > 0) sites.append(" ", element("span", { class: "quiet-text", text: ["library.moreSites", { count: others }] }));
  return element("p", { class: "recording-facts" }, ...parts, sites);
}
