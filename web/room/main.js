/**
 * The way through the pages: invitation, pre-join, room, and out again.
 */

import { errorText } from "./announcements.js";
import { Conference } from "./conference.js";
import { switchLanguage } from "./controllist.js";
import { address } from "../shared/address.js";
import { showNotice } from "../shared/dialogs.js";
import { byId } from "../shared/dom.js";
import { exchange, InvitationFailed, invitationIn } from "../shared/invitation.js";
import { Prejoin } from "../prejoin/prejoin.js";
import { Room } from "./room.js";
import { loadSettings } from "../shared/settings.js";
import { addTexts, isLanguage, language, onLanguage, setLanguage, setText } from "../shared/text/text.js";
import { en } from "./texts.en.js";
import { vi } from "./texts.vi.js";

/** @typedef {import("../shared/types.js").Admission} Admission */
/** @typedef {import("../prejoin/prejoin.js").Start} Start */
/** @typedef {import("../protocol/connection.js").ConnectionState} ConnectionState */
/** @typedef {import("../protocol/connection.js").Ending} Ending */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

addTexts({ vi, en });

const PAGES = /** @type {const} */ (["notice", "prejoin", "room"]);

/** @type {string | null} */
let invitation = null;
/** @type {Admission | null} */
let admission = null;
/** @type {Conference | null} */
let conference = null;
/** @type {Room | null} */
let room = null;

const prejoin = new Prejoin(join);

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

async function openInvitation() {
  invitation = invitationIn(location.hash);
  if (!invitation) {
    notice({ title: "invitation.missing.title", text: "invitation.missing.text", asksLink: true });
    return;
  }
  notice({ title: "invitation.checking", isBusy: true });
  try {
    admission = await exchange(invitation);
  } catch (error) {
    if (!(error instanceof InvitationFailed)) throw error;
    invitationFailed(error);
    return;
  }
  document.title = admission.room.title;
  showPage("prejoin");
  await prejoin.open(admission);
}

/** @param {InvitationFailed} failure */
function invitationFailed({ problem }) {
  const again = { text: /** @type {TextKey} */ ("common.retry"), run: () => void openInvitation(), isPrimary: true };
  if (!problem) {
    notice({ title: "invitation.unreachable.title", text: "invitation.unreachable.text", actions: [again] });
    return;
  }
  notice({ title: "invitation.failed.title", text: errorText(problem), asksLink: true, actions: [again] });
}

/** @returns {Promise<string | null>} a fresh join token */
async function refreshToken() {
  if (!invitation) return null;
  try {
    return (await exchange(invitation)).token;
  } catch (error) {
    if (error instanceof InvitationFailed) return null;
    throw error;
  }
}

/** @param {Start} start */
function join(start) {
  if (!admission) return;
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  const base = address("ws");
  base.protocol = scheme;
  const entered = new Conference(
    {
      url: base.href,
      token: admission.token,
      name: start.name,
      language: language(),
      iceServers: admission.ice_servers ?? [],
      sources: start.sources,
      refreshToken,
    },
    {
      connectionChanged: (state, ending) => connectionChanged(state, ending),
      before: (message) => room?.hear(message),
      changed: () => room?.changed(),
      slotsAdded: () => room?.pictures.bindSlots(),
      sourceEnded: (source) => room?.sourceEnded(source),
      sourceInterrupted: (source) => room?.sourceInterrupted(source),
    },
  );
  conference = entered;
  notice({ title: "joining.title", isBusy: true });
  entered.open();
}

/**
 * @param {ConnectionState} state
 * @param {Ending | null} ending
 */
function connectionChanged(state, ending) {
  if (!conference) return;
  if (state === "waiting") {
    notice({
      title: "waiting.title",
      text: "waiting.text",
      isBusy: true,
      actions: [{ text: "controls.leave", run: () => conference?.leave() }],
    });
  } else if (state === "joined" && !room) {
    room = new Room(conference);
    showPage("room");
  } else if (state === "joined") {
    showPage("room");
  } else if (state === "closed" && ending) {
    leaveRoom(ending);
  }
  room?.changed();
}

/** @param {Ending} ending */
function leaveRoom(ending) {
  room?.close();
  room = null;
  conference = null;
  const actions = [{ text: /** @type {TextKey} */ ("left.rejoin"), run: () => void openInvitation(), isPrimary: true }];
  if (ending.reason === "removed") notice({ title: "removed.title", text: "removed.text" });
  else if (ending.error) notice({ title: "refused.title", text: errorText(ending.error), actions });
  else notice({ title: "left.title", text: "left.text", actions });
}

function begin() {
  const stored = loadSettings().language;
  for (const button of document.querySelectorAll("[data-action=language]")) {
    if (!(button instanceof HTMLElement)) continue;
    setText(button, "text", "language.switch");
    setText(button, "label", "language.switch.label");
    button.addEventListener("click", switchLanguage);
  }
  byId("notice-link", HTMLFormElement).addEventListener("submit", (event) => {
    event.preventDefault();
    const link = invitationIn(byId("notice-link-input", HTMLInputElement).value);
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
  });
  window.addEventListener("pagehide", () => conference?.leave());
  void openInvitation();
}

begin();
