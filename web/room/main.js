/**
 * The way through the pages: invitation, pre-join, room, and out again.
 */

import { errorText } from "./announcements.js";
import { arrive } from "./arrival.js";
import { Conference } from "./conference.js";
import { switchLanguage } from "./controllist.js";
import { address } from "../shared/address.js";
import { Sources } from "../devices/sources.js";
import { showNotice } from "../shared/dialogs.js";
import { byId } from "../shared/dom.js";
import { exchange, InvitationFailed, invitationIn } from "../shared/invitation.js";
import { Prejoin } from "../prejoin/prejoin.js";
import { Room } from "./room.js";
import { Session } from "./session.js";
import { Tabs } from "./tabs.js";
import { loadSettings } from "../shared/settings.js";
import { addTexts, isLanguage, language, onLanguage, setLanguage, setText } from "../shared/text/text.js";
import { en } from "./texts.en.js";
import { vi } from "./texts.vi.js";

/** @typedef {import("../shared/types.js").Admission} Admission */
/** @typedef {import("../shared/types.js").BridgeMessage} BridgeMessage */
/** @typedef {import("../shared/types.js").ProtocolError} ProtocolError */
/** @typedef {import("../prejoin/prejoin.js").Start} Start */
/** @typedef {import("./session.js").Return} Return */
/** @typedef {import("../protocol/connection.js").ConnectionState} ConnectionState */
/** @typedef {import("../protocol/connection.js").Ending} Ending */
/** @typedef {import("../protocol/connection.js").Refreshed} Refreshed */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

addTexts({ vi, en });

const PAGES = /** @type {const} */ (["notice", "prejoin", "room"]);

/** @type {string | null} */
let invitation = null;
/** @type {Admission | null} */
let admission = null;
let admittedAt = 0;
/** @type {Conference | null} */
let conference = null;
/** @type {Room | null} */
let room = null;
/** Under which name the room was entered. */
let enteredAs = "";
let arriving = new AbortController();
/** How this tab was in the room before its link was opened anew. @type {Return | null} */
let before = null;

const session = new Session();
// What was on before is not on by itself: the page before the room has asked.
const prejoin = new Prejoin((start) => enter(start, before && { ...before, isMicrophoneOn: false, isCameraOn: false }));
const tabs = new Tabs(() => {
  const entered = conference;
  return entered && invitation ? { invitation, handOver: () => handOver(entered) } : null;
});

// For tests and for support staff at a browser's console; nothing in the page reads it.
Object.defineProperty(window, "hoichan", {
  value: Object.freeze({
    get peer() {
      return conference?.peer ?? null;
    },
    get connection() {
      return conference?.connection ?? null;
    },
    get state() {
      return conference?.state ?? null;
    },
    get sources() {
      return conference?.sources ?? null;
    },
  }),
});

/** @param {typeof PAGES[number]} page */
function showPage(page) {
  if (page !== "prejoin") prejoin.close();
  document.body.dataset.page = page;
  for (const name of PAGES) byId(name, HTMLElement).hidden = name !== page;
}

/** @param {Parameters<typeof showNotice>[0]} notice */
function notice(notice) {
  showNotice(notice);
  showPage("notice");
}

/** Take the invitation out of the address, where it would be photographed and copied with the page. */
function takeInvitation() {
  const given = invitationIn(location.hash);
  if (given && session.keepInvitation(given)) history.replaceState(null, "", location.pathname + location.search);
  return given;
}

async function openInvitation() {
  arriving.abort();
  arriving = new AbortController();
  const { signal } = arriving;
  const back = session.takeReturn(Date.now());
  const isSame = invitationIn(location.hash) === session.invitation;
  const given = takeInvitation();
  before = isSame ? back : null;
  invitation = given ?? invitation ?? session.invitation;
  if (!invitation) {
    notice({ title: "invitation.missing.title", text: "invitation.missing.text", asksLink: true });
    return;
  }
  notice({ title: "invitation.checking", isBusy: true });
  try {
    const admitted = await arrive(invitation, { exchange, signal, waiting: invitationWaits });
    if (!admitted) return;
    admit(admitted);
  } catch (error) {
    if (!(error instanceof InvitationFailed)) throw error;
    const again = { text: /** @type {TextKey} */ ("common.retry"), run: () => void openInvitation(), isPrimary: true };
    notice({ title: "invitation.failed.title", text: error.problem ? errorText(error.problem) : "error.unknown", asksLink: true, actions: [again] });
    return;
  }
  // A link that was opened anew begins before the room.
  if (back && !given) comeBack(back);
  else if (await tabs.isElsewhere(invitation)) askToMove();
  else if (!signal.aborted) await openPrejoin();
}

/** @param {Admission} admitted */
function admit(admitted) {
  admission = admitted;
  admittedAt = performance.now();
  document.title = admitted.room.title;
}

async function openPrejoin() {
  if (!admission) return;
  showPage("prejoin");
  await prejoin.open(admission);
}

/** @param {ProtocolError | null} problem */
function invitationWaits(problem) {
  const actions = [{ text: /** @type {TextKey} */ ("common.retry"), run: () => void openInvitation(), isPrimary: true }];
  if (problem) notice({ title: "invitation.busy.title", text: "invitation.busy.text", isBusy: true, actions });
  else notice({ title: "invitation.unreachable.title", text: "invitation.unreachable.text", isBusy: true, actions });
}

/** Another tab is in the room by the same link: two microphones side by side would howl. */
function askToMove() {
  const given = invitation;
  if (!given) return;
  const move = async () => {
    const back = await tabs.moveHere(given);
    if (back) comeBack(back);
    else await openPrejoin();
  };
  notice({
    title: "elsewhere.title",
    text: "elsewhere.text",
    actions: [
      { text: "elsewhere.move", run: () => void move(), isPrimary: true },
      { text: "elsewhere.both", run: () => void openPrejoin() },
      { text: "common.cancel", run: () => notice({ title: "left.title", text: "elsewhere.stays", actions: [rejoin()] }) },
    ],
  });
}

/** @param {Conference} entered @returns {Return} */
function handOver(entered) {
  const back = entered.keep(enteredAs);
  entered.connection.handOver();
  return back;
}

/** Go on in the room as this participant was before. @param {Return} back */
function comeBack(back) {
  const sources = new Sources(loadSettings());
  enter({ name: back.name, sources }, back);
  /** @param {"microphone" | "camera"} kind @param {unknown} error */
  const failed = (kind, error) => room?.sourceFailed(kind, error);
  if (back.isMicrophoneOn && back.isCameraOn) {
    void sources.startBoth().then((problems) => problems.forEach((error, kind) => failed(kind, error)));
  } else if (back.isMicrophoneOn || back.isCameraOn) {
    const kind = back.isMicrophoneOn ? "microphone" : "camera";
    sources.start(kind).catch((error) => failed(kind, error));
  }
}

/** @returns {Promise<Refreshed>} a fresh join token, and with it fresh relay credentials */
async function refreshToken() {
  if (!invitation) return { gone: null };
  try {
    const admitted = await exchange(invitation);
    if (admitted.ice_servers) conference?.takeIceServers(admitted.ice_servers);
    return { token: admitted.token };
  } catch (error) {
    if (!(error instanceof InvitationFailed)) throw error;
    return error.retryAfterMs === null ? { gone: error.problem } : { laterMs: error.retryAfterMs };
  }
}

/**
 * @param {Start} start
 * @param {Return | null} back
 */
function enter(start, back) {
  if (!admission) return;
  const base = address("ws");
  base.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  enteredAs = start.name;
  before = null;
  conference = new Conference(
    {
      url: base.href,
      token: admission.token,
      tokenAgeMs: performance.now() - admittedAt,
      name: start.name,
      language: language(),
      page: session.page,
      iceServers: admission.ice_servers ?? [],
      sources: start.sources,
      back,
      refreshToken,
      tellsFrames: "requestVideoFrameCallback" in HTMLVideoElement.prototype,
    },
    {
      connectionChanged: (state, ending) => connectionChanged(state, ending),
      before: (message) => hear(message),
      changed: () => room?.changed(),
      slotsAdded: () => room?.pictures.bindSlots(),
      cameraStalled: () => room?.cameraStalled(),
      sourceEnded: (source) => room?.sourceEnded(source),
      sourceInterrupted: (source) => room?.sourceInterrupted(source),
    },
  );
  notice({ title: "joining.title", isBusy: true, actions: [leaving()] });
  conference.open();
}

function leaving() {
  return { text: /** @type {TextKey} */ ("controls.leave"), run: () => conference?.leave() };
}

function rejoin() {
  return { text: /** @type {TextKey} */ ("left.rejoin"), run: () => void openInvitation(), isPrimary: true };
}

/** @param {BridgeMessage} message */
function hear(message) {
  if (message.type === "waiting") showWaiting(message.reason);
  room?.hear(message);
}

/** @param {"locked" | "removed" | "no-chair"} reason */
function showWaiting(reason) {
  const text = /** @type {const} */ (`waiting.text.${reason}`);
  // Told every few seconds; made anew, the button would lose its focus.
  if (document.body.dataset.page === "notice" && byId("notice-text", HTMLElement).dataset.text === text) return;
  notice({ title: "waiting.title", text, isBusy: true, actions: [leaving()] });
}

/**
 * @param {ConnectionState} state
 * @param {Ending | null} ending
 */
function connectionChanged(state, ending) {
  if (!conference) return;
  if (state === "joined") {
    room ??= new Room(conference);
    showPage("room");
  } else if (state === "reconnecting" && document.body.dataset.page === "notice") {
    // Not in the room yet, or in its lobby: there is no banner to say it.
    notice({ title: "joining.again", text: "invitation.unreachable.text", isBusy: true, actions: [leaving()] });
  } else if (state === "closed" && ending) {
    leaveRoom(ending);
  }
  room?.changed();
}

/** @param {Ending} ending */
function leaveRoom({ reason, error }) {
  room?.close();
  room = null;
  conference = null;
  const actions = [rejoin()];
  if (reason === "removed") notice({ title: "removed.title", text: "removed.text" });
  else if (reason === "moved") notice({ title: "moved.title", text: "moved.text", actions });
  else if (reason === "over") notice({ title: "over.title", text: "over.text", actions });
  else if (reason === "refused") notice({ title: "refused.title", text: error ? errorText(error) : "error.unknown", actions });
  else notice({ title: "left.title", text: "left.text", actions });
}

/** The page goes, back in a moment or for good: no browser says which, so the bridge waits for it. */
function pageHidden() {
  if (!conference) return;
  session.keepReturn(conference.keep(enteredAs));
  conference.connection.handOver();
}

function begin() {
  const stored = loadSettings().language;
  for (const button of document.querySelectorAll("[data-action=language]")) {
    if (!(button instanceof HTMLElement)) continue;
    setText(button, "text", "language.switch");
    setText(button, "title", "language.switch.label");
    button.addEventListener("click", switchLanguage);
  }
  const pasted = byId("notice-link-input", HTMLInputElement);
  byId("notice-link", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const link = invitationIn(pasted.value);
    byId("notice-link-problem", HTMLElement).hidden = link !== null;
    pasted.setAttribute("aria-invalid", String(link === null));
    if (!link) return;
    history.replaceState(null, "", `#i=${encodeURIComponent(link)}`);
    void openInvitation();
  });
  onLanguage(() => {
    document.title = admission?.room.title ?? document.title;
  });
  setLanguage(isLanguage(stored) ? stored : "vi");
  window.addEventListener("hashchange", () => {
    if (!conference) void openInvitation();
    // The same link once more, into the address of the page that is open.
    else if (invitationIn(location.hash) === invitation) takeInvitation();
  });
  window.addEventListener("pagehide", pageHidden);
  // Shown again out of the browser's memory, the page has no room behind it.
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) location.reload();
  });
  void openInvitation();
}

begin();
