/**
 * The page of one recording: the player with its chapters, and the cards below.
 */

import { openDialog, toast } from "../shared/dialogs.js";
import { byId, element, icon } from "../shared/dom.js";
import { clearText, setText } from "../shared/text/text.js";
import { checkPackage, holdPackage, LibraryFailed, readPackage, readText, fileAddress, withdrawConsent } from "./api.js";
import { attendanceCard, auditCard, consentCard, downloadsCard, gapsCard, keepingCard } from "./cards.js";
import { ChapterList, chaptersOf } from "./chapters.js";
import { Controls } from "./controls.js";
import { failureText } from "./failures.js";
import * as format from "./format.js";
import { caseChip, consentChip, holdChip, isWithheld } from "./list.js";
import { Player } from "./player.js";
import { SeekBar } from "./seekbar.js";
import { failure, progressBar, stateChip } from "./states.js";
import { parseVtt } from "./vtt.js";

/** @typedef {import("./types.js").PackageDetail} PackageDetail */
/** @typedef {import("./types.js").PackageSummary} PackageSummary */
/** @typedef {import("./chapters.js").Chapter} Chapter */
/** @typedef {import("./vtt.js").Cue} Cue */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

const REASON_MIN = 3;
const CHECK_INTERVAL_MS = 2000;
// An hour of a conference is read in some seconds; whatever takes longer is seen with the next visit.
const CHECK_LOOKS = 150;

export class Recording {
  /**
   * @param {object} hooks
   * @param {(id: string) => Promise<void>} hooks.retry
   * @param {(error: unknown) => boolean} hooks.failed
   * @param {() => boolean} hooks.seesAll
   */
  constructor(hooks) {
    this.hooks = hooks;
    /** @type {PackageDetail | null} */
    this.detail = null;
    this.id = "";
    /** The package that is being compared with its checksums because somebody asked. */
    this.checking = "";
    const video = byId("video", HTMLVideoElement);
    this.player = new Player(video, () => this.show());
    this.seekBar = new SeekBar(byId("seek-holder", HTMLElement), this.player);
    this.controls = new Controls(byId("player-controls", HTMLElement), this.player, {
      goToChapter: (direction) => this.goToChapter(direction),
      showSeries: (series) => this.showSeries(series),
    });
    this.chapters = new ChapterList(byId("chapters", HTMLElement), (chapter) => this.seekChapter(chapter));
    video.addEventListener("click", () => this.player.toggle());
  }

  /** @param {string} id */
  async open(id) {
    this.close();
    this.id = id;
    byId("recording-problem", HTMLElement).hidden = true;
    byId("recording-body", HTMLElement).hidden = true;
    byId("recording", HTMLElement).setAttribute("aria-busy", "true");
    await this.load(id);
    if (this.id === id) byId("recording", HTMLElement).removeAttribute("aria-busy");
  }

  /** @param {string} id */
  async load(id) {
    try {
      const detail = await readPackage(id);
      if (this.id !== id) return;
      const [captions, chapters] = await Promise.all([cuesOf(detail, "captions"), cuesOf(detail, "chapters")]);
      if (this.id !== id) return;
      this.detail = detail;
      this.openPlayer(detail, captions, chaptersOf(chapters, `${detail.case} ${detail.code}`));
      this.render();
    } catch (error) {
      if (!(error instanceof LibraryFailed)) throw error;
      if (this.id !== id || this.hooks.failed(error)) return;
      setText(byId("recording-problem-text", HTMLElement), "text", failureText(error));
      byId("recording-problem", HTMLElement).hidden = false;
    }
  }

  close() {
    this.id = "";
    this.detail = null;
    this.player.close();
    for (const name of ["recording-title", "recording-facts"]) clearText(byId(name, HTMLElement), "text");
    byId("recording-chips", HTMLElement).replaceChildren();
  }

  /**
   * @param {PackageDetail} detail
   * @param {Cue[]} captions
   * @param {Chapter[]} chapters
   */
  openPlayer(detail, captions, chapters) {
    this.player.open(detail, captions);
    if (detail.files.includes("poster")) byId("video", HTMLVideoElement).poster = fileAddress(detail.id, "poster");
    this.chapters.open(chapters);
    this.seekBar.open(detail, chapters);
    this.controls.open(captions.length > 0, detail.content.length > 0 && detail.video.length > 0);
    byId("chapters-panel", HTMLElement).hidden = chapters.length === 0;
    byId("recording-body", HTMLElement).dataset.chapters = String(chapters.length > 0);
  }

  /**
   * What the poll knows of this package; a step that has ended is read anew.
   * @param {PackageSummary | undefined} entry  undefined: it does not move any more
   */
  update(entry) {
    const { detail } = this;
    if (!detail) return;
    if (!entry || entry.is_sealed !== detail.is_sealed) void this.reload();
    else if (JSON.stringify({ ...detail, ...entry }) !== JSON.stringify(detail)) {
      this.detail = { ...detail, ...entry };
      this.render();
    }
  }

  /** Read the package again; what is being watched goes on. */
  async reload() {
    const { id } = this;
    if (!this.detail?.is_sealed) return this.load(id);
    try {
      const detail = await readPackage(id);
      if (this.id === id) this.take(detail);
    } catch (error) {
      if (!(error instanceof LibraryFailed)) throw error;
      if (!this.hooks.failed(error)) toast(failureText(error), { isWarning: true });
    }
    return undefined;
  }

  /** @param {PackageDetail} detail */
  take(detail) {
    this.detail = detail;
    this.render();
  }

  render() {
    const { detail } = this;
    if (!detail) return;
    byId("recording-title", HTMLElement).textContent = detail.title;
    const facts = byId("recording-facts", HTMLElement);
    const words = {
      day: format.day(detail.started_ms),
      from: format.hour(detail.started_ms),
      to: format.hour(detail.ended_ms),
      length: format.length(detail.duration_ms),
    };
    setText(facts, "text", ["library.facts", words]);
    byId("recording-chips", HTMLElement).replaceChildren(
      ...[caseChip(detail), consentChip(detail), holdChip(detail), stateChip(detail)].filter((chip) => chip !== null),
    );
    byId("recording-body", HTMLElement).hidden = false;
    const isPlayable = detail.video.length + detail.content.length > 0;
    byId("watching", HTMLElement).hidden = !isPlayable;
    this.renderMaking(detail, isPlayable);
    this.renderCards(detail);
    this.show();
  }

  /**
   * What is on its way, or why it is not.
   * @param {PackageDetail} detail
   * @param {boolean} isPlayable
   */
  renderMaking(detail, isPlayable) {
    const making = byId("making", HTMLElement);
    const isAtRest = detail.state === "sealed" || detail.state === "delivered";
    making.hidden = isAtRest && isPlayable && !detail.error;
    const parts = [];
    if (!detail.is_sealed) parts.push(element("p", { class: "quiet-text", text: detail.error ? "library.making.failed" : "library.making" }));
    else if (!this.mayOpen(detail)) parts.push(element("p", { text: "library.withheld" }));
    else if (!isPlayable) parts.push(element("p", { text: "library.noVideo" }));
    parts.push(progressBar(detail), failure(detail));
    if (detail.error) {
      parts.push(
        element("button", { class: "button primary", attributes: { "data-action": "retry" }, click: () => void this.hooks.retry(detail.id) }, icon("retry"), element("span", { text: "library.retry" })),
        element("details", { class: "technical" }, element("summary", { text: "library.technical" }), element("p", { value: `${detail.error.code}: ${detail.error.sentence}` })),
      );
    }
    making.replaceChildren(...parts.filter((part) => part !== null));
  }

  /** @param {PackageDetail} detail  what is held back is for the archive, which decides */
  mayOpen(detail) {
    return !isWithheld(detail) || this.hooks.seesAll();
  }

  /** @param {PackageDetail} detail */
  renderCards(detail) {
    const keeping = {
      mayRelease: this.hooks.seesAll(),
      hold: () => void this.hold(),
      check: this.checking === detail.id ? null : () => void this.check(),
    };
    const cards = detail.is_sealed
      ? [
          consentCard(detail, () => void this.withdraw()),
          detail.video.length > 0 ? gapsCard(detail, this.player.timelines.video, (position) => this.seekComposed(position)) : null,
          attendanceCard(detail),
          keepingCard(detail, keeping),
          this.mayOpen(detail) ? downloadsCard(detail) : null,
          auditCard(detail),
        ]
      : [
          ["ongoing", "recording"].includes(detail.state) ? null : consentCard(detail, () => void this.withdraw()),
          detail.attendance || detail.sites.length > 0 ? attendanceCard(detail) : null, auditCard(detail)];
    byId("cards", HTMLElement).replaceChildren(...cards.filter((card) => card !== null));
  }

  /** Say everything in the language that was chosen just now. */
  translate() {
    this.chapters.open(this.chapters.chapters);
    if (this.detail) this.player.placeCues();
    this.render();
  }

  /** What changes while one watches. */
  show() {
    const { player } = this;
    this.seekBar.show();
    this.controls.show();
    this.chapters.show(player.series === "video" ? player.position : player.timelines.video.positionOf(player.moment));
    byId("player", HTMLElement).dataset.playing = String(player.isPlaying);
    byId("player-problem", HTMLElement).hidden = !player.hasFailed;
  }

  /** @param {number} position  in the composed video */
  seekComposed(position) {
    this.showSeries("video");
    this.player.seek(position);
    byId("player", HTMLElement).scrollIntoView({ block: "nearest" });
  }

  /** @param {Chapter} chapter */
  seekChapter(chapter) {
    const { player } = this;
    const moment = player.timelines.video.momentAt(chapter.start);
    if (player.series === "content" && player.timelines.content.holds(moment)) {
      player.seek(player.timelines.content.positionOf(moment));
      return;
    }
    this.showSeries("video");
    // A cue's time is rounded; one frame later we are in the chapter for certain.
    player.seek(chapter.start + 0.02);
  }

  /** @param {1 | -1} direction */
  goToChapter(direction) {
    const { player } = this;
    const position = player.series === "video" ? player.position : player.timelines.video.positionOf(player.moment);
    const chapter = this.chapters.beside(position, direction);
    if (chapter) this.seekChapter(chapter);
    else if (direction < 0) player.seek(0);
  }

  /** @param {"video" | "content"} series */
  showSeries(series) {
    if (series === this.player.series) return;
    this.player.show(series);
    this.seekBar.drawMarks();
    this.show();
  }

  async hold() {
    const { detail } = this;
    if (!detail) return;
    const isHeld = detail.legal_hold;
    const reason = await askReason(isHeld ? "library.hold.release" : "library.hold.set", isHeld ? "library.hold.release.text" : "library.hold.set.text");
    if (reason === null) return;
    const changed = await this.change(holdPackage(detail.id, !isHeld, reason));
    if (!changed) return;
    if (this.id === changed.id) this.take(changed);
    toast(changed.legal_hold ? "library.hold.done" : "library.hold.released");
  }

  /** Have the recording compared with its checksums, and show what comes of it. */
  async check() {
    const { detail } = this;
    if (!detail) return;
    const { id, checked_ms } = detail;
    if (!(await this.change(checkPackage(id)))) return;
    toast("library.check.asked");
    this.checking = id;
    this.render();
    for (let look = 0; look < CHECK_LOOKS && this.id === id; look += 1) {
      await new Promise((resolve) => setTimeout(resolve, CHECK_INTERVAL_MS));
      const looked = this.id === id ? await this.change(readPackage(id)) : null;
      if (!looked) break;
      if (this.id === id && looked.checked_ms !== checked_ms) {
        this.detail = looked;
        break;
      }
    }
    if (this.checking === id) this.checking = "";
    if (this.id === id) this.render();
  }

  /** The patient has withdrawn consent: whoever may not open the recording any more sees nothing of it. */
  async withdraw() {
    const { detail } = this;
    if (!detail) return;
    const reason = await askReason("library.consent.withdraw", "library.consent.withdraw.text");
    if (reason === null) return;
    const changed = await this.change(withdrawConsent(detail.id, reason));
    if (!changed) return;
    if (this.id === changed.id) {
      if (this.mayOpen(changed)) this.take(changed);
      else await this.open(changed.id);
    }
    toast("library.consent.withdraw.done");
  }

  /**
   * @param {Promise<PackageDetail>} asked
   * @returns {Promise<PackageDetail | null>} null, said why, when it was refused
   */
  async change(asked) {
    try {
      return await asked;
    } catch (error) {
      if (!(error instanceof LibraryFailed)) throw error;
      if (!this.hooks.failed(error)) toast(failureText(error), { isWarning: true });
      return null;
    }
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (!this.detail || this.player.timeline.parts.length === 0) return;
    if (this.controls.key(event)) event.preventDefault();
  }
}

/**
 * @param {PackageDetail} detail
 * @param {"captions" | "chapters"} name
 * @returns {Promise<Cue[]>}
 */
async function cuesOf(detail, name) {
  if (!detail.files.includes(name)) return [];
  try {
    return parseVtt(await readText(detail.id, name));
  } catch (error) {
    // The video is worth watching without them.
    if (error instanceof LibraryFailed && !error.isSignedOut) return [];
    throw error;
  }
}

/**
 * @param {TextKey} deed
 * @param {TextKey} what  it means
 * @returns {Promise<string | null>} the reason, null when nothing shall change
 */
function askReason(deed, what) {
  return new Promise((resolve) => {
    /** @type {string | null} */
    let reason = null;
    const field = element("textarea", { attributes: { rows: "3", maxlength: "300", minlength: String(REASON_MIN), required: "" } });
    const form = element(
      "form",
      { class: "hold-form" },
      element("p", { text: what }),
      element("label", { class: "field" }, element("span", { text: "library.hold.reason" }), field),
      element(
        "div",
        { class: "row dialog-actions" },
        element("button", { class: "button", text: "common.cancel", click: () => dialog.close() }),
        element("button", { class: "button primary", text: deed, attributes: { type: "submit" } }),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const text = field.value.trim();
      if (text.length < REASON_MIN) return;
      reason = text;
      dialog.close();
    });
    const dialog = openDialog(deed, [form], { closed: () => resolve(reason) });
    field.focus();
  });
}

