/**
 * What a tab remembers while it lives: its invitation, so that the link need
 * not stay in the address bar, and, from one loading of the page to the next,
 * how it was in the room.
 */

/** @typedef {import("../protocol/connection.js").Resume} Resume */

/**
 * @typedef {object} Return
 * @property {string} name
 * @property {Resume | null} resume
 * @property {boolean} isMicrophoneOn
 * @property {boolean} isCameraOn
 * @property {number} atMs  Unix milliseconds
 */

/** @typedef {{getItem: (key: string) => string | null, setItem: (key: string, value: string) => void, removeItem: (key: string) => void}} Store */

const INVITATION = "hoichan.invitation";
const RETURN = "hoichan.return";
const PAGE = "hoichan.page";
/** Who loads the page anew comes back at once; a tab that is opened again tomorrow begins before the room. */
const RETURN_LIMIT_MS = 60_000;

export class Session {
  #store;

  /** @param {() => Store} store  fails with DOMException where storing is switched off */
  constructor(store = () => sessionStorage) {
    this.#store = store;
  }

  /**
   * @template T
   * @param {(store: Store) => T} use
   * @returns {T | null}
   */
  #try(use) {
    try {
      return use(this.#store());
    } catch (error) {
      if (error instanceof DOMException || error instanceof SyntaxError) return null;
      throw error;
    }
  }

  /** @param {string} invitation @returns {boolean} whether it will be known after loading anew */
  keepInvitation(invitation) {
    this.#try((store) => store.setItem(INVITATION, invitation));
    return this.invitation === invitation;
  }

  /** @returns {string | null} */
  get invitation() {
    return this.#try((store) => store.getItem(INVITATION));
  }

  /** A random word that stays the same while the tab lives, even through a crash. */
  get page() {
    const kept = this.#try((store) => store.getItem(PAGE));
    if (kept) return kept;
    const word = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
    this.#try((store) => store.setItem(PAGE, word));
    return word;
  }

  /**
   * For the page that is loaded next; never while this one lives, as a tab
   * that is duplicated gets a copy of all that is stored.
   * @param {Return} back
   */
  keepReturn(back) {
    this.#try((store) => store.setItem(RETURN, JSON.stringify(back)));
  }

  /** @param {number} nowMs @returns {Return | null} once */
  takeReturn(nowMs) {
    /** @type {Return | null} */
    const back = this.#try((store) => JSON.parse(store.getItem(RETURN) ?? "null"));
    this.#try((store) => store.removeItem(RETURN));
    const age = nowMs - (back?.atMs ?? 0);
    return back && age >= 0 && age < RETURN_LIMIT_MS ? back : null;
  }
}
