/**
 * The way through the library: the link becomes a session, the address says
 * what is shown, and what moves is followed.
 */

import { showNotice, toast } from "../shared/dialogs.js";
import { byId } from "../shared/dom.js";
import { invitationIn } from "../shared/invitation.js";
import { loadSettings, saveSettings } from "../shared/settings.js";
import { addTexts, isLanguage, language, onLanguage, setLanguage, setText, t } from "../shared/text/text.js";
import { endSession, LibraryFailed, openSession, readPackage, retryPackage } from "./api.js";
import { failureText } from "./failures.js";
import { Follower } from "./follow.js";
import { List } from "./list.js";
import { placeIn, placeOf } from "./place.js";
import { Recording } from "./recording.js";
import { en } from "./texts.en.js";
import { vi } from "./texts.vi.js";

/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").PackageSummary} PackageSummary */

addTexts({ vi, en });

const PAGES = /** @type {const} */ (["notice", "list", "recording"]);
const RENEW_MS = 5 * 60_000;
/** As many as the API sends at once. */
const FIRST_PAGE = 25;

/** Kept in memory alone: neither the address nor the disk shall have it. @type {string | null} */
let invitation = null;
/** @type {Session | null} */
let session = null;
let renewed = 0;
/** Whether this session has been good for anything: without cookies none ever is. */
let hasWorked = false;
let isReopening = false;
/** @type {ReturnType<typeof setInterval> | undefined} */
let renewal = undefined;

const hooks = { retry, failed };
const list = new List(hooks);
const recording = new Recording({ ...hooks, seesAll: () => session?.scope === "all" });
const follower = new Follower({ moved, grew, failed, reached });

/** @param {typeof PAGES[number]} page */
function showPage(page) {
  document.body.dataset.page = page;
  for (const name of PAGES) byId(name, HTMLElement).hidden = name !== page;
  byId("topbar", HTMLElement).hidden = page === "notice";
}

/** @param {Parameters<typeof showNotice>[0]} notice */
function notice(notice) {
  follower.stop();
  recording.close();
  showNotice(notice);
  showPage("notice");
}

/** Take the token out of the address, and leave the rest of it. */
function takeInvitation() {
  const found = invitationIn(location.hash);
  if (!found) return;
  invitation = found;
  const rest = new URLSearchParams(location.hash.slice(1));
  rest.delete("i");
  const hash = rest.toString();
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname + location.search);
}

async function enter() {
  takeInvitation();
  notice({ title: "library.opening", isBusy: true });
  try {
    session = await openSession(invitation);
  } catch (error) {
    if (!(error instanceof LibraryFailed)) throw error;
    session = null;
    refuse(error);
    return;
  }
  renewed = Date.now();
  hasWorked = false;
  clearInterval(renewal);
  renewal = setInterval(() => void renew(), RENEW_MS);
  renderScope();
  follower.start();
  await route();
}

/** @param {LibraryFailed} failure */
function refuse(failure) {
  const again = { text: /** @type {const} */ ("common.retry"), run: () => void enter(), isPrimary: true };
  if (failure.code === "unreachable") {
    notice({ title: "invitation.unreachable.title", text: "invitation.unreachable.text", actions: [again] });
  } else if (failure.code === "not-permitted") {
    notice({ title: "library.refused.title", text: "library.refused.text", asksLink: true });
  } else if (invitation === null) {
    notice({ title: "library.missing.title", text: "library.missing.text", asksLink: true });
  } else {
    notice({ title: "invitation.failed.title", text: failureText(failure), asksLink: true, actions: [again] });
  }
}

async function renew() {
  // Who listens in another tab is here as well.
  if (document.hidden && !recording.player.isPlaying) return;
  try {
    session = await openSession(null);
    renewed = Date.now();
  } catch (error) {
    if (!(error instanceof LibraryFailed)) throw error;
    failed(error);
  }
}

/**
 * A session that has run out while nobody looked is opened again with the link.
 * @param {unknown} error
 * @returns {boolean} whether that is what the error was about
 */
function failed(error) {
  if (!(error instanceof LibraryFailed) || !error.isSignedOut || !session) return false;
  if (isReopening) return true;
  if (invitation && hasWorked) void reopen(invitation);
  else {
    session = null;
    const isBlocked = invitation !== null;
    notice({
      title: isBlocked ? "library.cookies.title" : "library.ended.title",
      text: isBlocked ? "library.cookies.text" : "library.ended.text",
      asksLink: true,
    });
  }
  return true;
}

/** @param {string} link */
async function reopen(link) {
  isReopening = true;
  try {
    session = await openSession(link);
    renewed = Date.now();
    hasWorked = false;
  } catch (error) {
    if (!(error instanceof LibraryFailed)) throw error;
    session = null;
    refuse(error);
    return;
  } finally {
    isReopening = false;
  }
  follower.wake();
  // What is being watched goes on; what could not be shown is asked for again.
  if (recording.detail === null) await route();
}

/** @param {boolean} isReachable */
function reached(isReachable) {
  byId("banner", HTMLElement).hidden = isReachable;
  if (!isReachable) setText(byId("banner", HTMLElement), "text", "library.unreachable");
}

function renderScope() {
  if (!session) return;
  const scope = byId("scope", HTMLElement);
  if (session.room) setText(scope, "text", ["library.scope.room", { room: session.room.title }]);
  else setText(scope, "text", "library.scope.all");
  byId("holder", HTMLElement).textContent = session.site;
}

/** Show what the address says. */
async function route() {
  if (!session) return;
  const { id, second } = placeIn(location.hash);
  if (id) {
    showPage("recording");
    scrollTo(0, 0);
    byId("recording-title", HTMLElement).focus({ preventScroll: true });
    await recording.open(id);
    if (second > 0 && recording.id === id && recording.detail) recording.player.seek(second);
    title();
    return;
  }
  recording.close();
  showPage("list");
  title();
  await list.search();
}

function title() {
  document.title = recording.detail ? `${recording.detail.title} – ${t("library.title")}` : t("library.title");
}

/** @param {PackageSummary[]} moving @param {string[]} ended */
function moved(moving, ended) {
  hasWorked = true;
  if (!byId("recording", HTMLElement).hidden) {
    const entry = moving.find(({ id }) => id === recording.id);
    if (entry || ended.includes(recording.id)) recording.update(entry);
    return;
  }
  if (byId("list", HTMLElement).hidden || !list.isLoaded) return;
  list.update(moving);
  for (const id of ended) void refresh(id);
}

/** Something new belongs on top of the list; who has read on beyond its first page is not thrown back. */
function grew() {
  if (!byId("list", HTMLElement).hidden && list.isLoaded && list.packages.length <= FIRST_PAGE) void list.search();
}

/** @param {string} id */
async function refresh(id) {
  if (!list.packages.some((entry) => entry.id === id)) return;
  try {
    list.update([await readPackage(id)]);
  } catch (error) {
    if (!(error instanceof LibraryFailed)) throw error;
    failed(error);
  }
}

/** @param {string} id */
async function retry(id) {
  try {
    const detail = await retryPackage(id);
    toast("library.retry.done");
    list.update([detail]);
    if (recording.id === id) recording.take(detail);
    follower.wake();
  } catch (error) {
    if (!(error instanceof LibraryFailed)) throw error;
    if (!failed(error)) toast(failureText(error), { isWarning: true });
  }
}

async function leave() {
  invitation = null;
  session = null;
  clearInterval(renewal);
  try {
    await endSession();
  } catch (error) {
    // It ends by itself within a quarter of an hour.
    if (!(error instanceof LibraryFailed)) throw error;
  }
  notice({ title: "library.left.title", text: "library.left.text", asksLink: true });
}

/** @param {KeyboardEvent} event */
function key(event) {
  if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
  if (byId("dialog", HTMLDialogElement).open) return;
  const target = event.target instanceof Element ? event.target : null;
  if (target?.closest("input, select, textarea, summary")) return;
  // A button that has the focus takes the space bar for itself.
  if (event.key === " " && target?.closest("button, a")) return;
  if (event.key === "/" && !byId("list", HTMLElement).hidden) {
    event.preventDefault();
    byId("search-text", HTMLInputElement).focus();
  } else if (event.key === "Escape" && !byId("recording", HTMLElement).hidden && !document.fullscreenElement) {
    location.hash = "";
  } else if (!byId("recording", HTMLElement).hidden) {
    recording.key(event);
  }
}

function switchLanguage() {
  const next = language() === "vi" ? "en" : "vi";
  setLanguage(next);
  saveSettings({ language: next });
}

function begin() {
  for (const button of document.querySelectorAll("[data-action=language]")) {
    if (!(button instanceof HTMLElement)) continue;
    setText(button, "text", "language.switch");
    setText(button, "title", "language.switch.label");
    button.addEventListener("click", switchLanguage);
  }
  byId("notice-link", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId("notice-link-input", HTMLInputElement).value.trim();
    const link = invitationIn(text) ?? (text.split(".").length === 3 ? text : null);
    if (!link) return;
    byId("notice-link-input", HTMLInputElement).value = "";
    invitation = link;
    void enter();
  });
  byId("leave", HTMLButtonElement).addEventListener("click", () => void leave());
  onLanguage(() => {
    // Days and numbers are written anew as well.
    if (list.isLoaded) list.render();
    recording.translate();
    title();
  });
  const stored = loadSettings().language;
  setLanguage(isLanguage(stored) ? stored : "vi");
  // Where it was paused stands in the address, so that a moment can be sent to somebody.
  byId("video", HTMLVideoElement).addEventListener("pause", () => {
    const { id, player } = recording;
    if (!id || player.series !== "video" || placeIn(location.hash).id !== id) return;
    history.replaceState(null, "", placeOf(id, player.position));
  });
  addEventListener("hashchange", () => {
    if (invitationIn(location.hash)) void enter();
    else void route();
  });
  addEventListener("keydown", key);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && session && Date.now() - renewed > RENEW_MS) void renew();
  });
  void enter();
}

begin();
