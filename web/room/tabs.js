/**
 * The tabs of this browser that are in a room by the same invitation: they
 * find each other, and one hands over to another.
 */

/** @typedef {import("./session.js").Return} Return */

/**
 * The part of BroadcastChannel that is used.
 * @typedef {object} Channel
 * @property {((event: any) => void) | null} onmessage
 * @property {(data: unknown) => void} postMessage
 */

const NAME = "hoichan.tabs";
/** A tab in the background answers late. */
const ANSWER_LIMIT_MS = 400;

export class Tabs {
  /** @type {Channel | null} */ #channel;
  /** @type {() => {invitation: string, handOver: () => Return} | null} */ #here;
  /** @type {((answer: {here?: true, back?: Return}) => void) | null} */ #answered = null;
  #invitation = "";

  /**
   * @param {() => {invitation: string, handOver: () => Return} | null} here  the room that this tab is in
   * @param {Channel | null} [channel]
   */
  constructor(here, channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(NAME)) {
    this.#here = here;
    this.#channel = channel;
    if (channel) channel.onmessage = ({ data }) => this.#received(data);
  }

  /** Whether another tab is in the room by this invitation. @param {string} invitation */
  async isElsewhere(invitation) {
    return (await this.#ask(invitation, "who"))?.here === true;
  }

  /**
   * Have the other tab leave, and go on as it was.
   * @param {string} invitation
   * @returns {Promise<Return | null>} null: it is there no more
   */
  async moveHere(invitation) {
    return (await this.#ask(invitation, "move"))?.back ?? null;
  }

  /**
   * @param {string} invitation
   * @param {"who" | "move"} ask
   * @returns {Promise<{here?: true, back?: Return} | null>}
   */
  #ask(invitation, ask) {
    return new Promise((resolve) => {
      if (!this.#channel) {
        resolve(null);
        return;
      }
      const timer = setTimeout(() => this.#answered?.({}), ANSWER_LIMIT_MS);
      this.#invitation = invitation;
      this.#answered = (answer) => {
        clearTimeout(timer);
        this.#answered = null;
        resolve(answer);
      };
      this.#channel.postMessage({ ask, invitation });
    });
  }

  /** @param {any} data */
  #received(data) {
    if (data?.answer) {
      if (data.invitation === this.#invitation) this.#answered?.(data.answer);
      return;
    }
    const here = this.#here();
    if (!here || data?.invitation !== here.invitation) return;
    const answer = data.ask === "move" ? { back: here.handOver() } : { here: true };
    this.#channel?.postMessage({ answer, invitation: here.invitation });
  }
}
