/**
 * How many chat lines were not read yet. Told by their time and not by their
 * number: of a long day the page keeps the newest lines only, and after a
 * break it is given fewer of them. Pure.
 */

/** @typedef {import("../shared/types.js").ChatLine} ChatLine */

export class Unread {
  /** @type {number | null} when the newest line that was read was written */ #readAt = null;

  /** @param {ChatLine[]} chat  what the room tells whoever comes in; after a break, what was missed is in it */
  welcome(chat) {
    if (this.#readAt === null) this.read(chat);
  }

  /** @param {ChatLine[]} chat  all of it is before the reader's eyes */
  read(chat) {
    this.#readAt = chat[chat.length - 1]?.at_ms ?? this.#readAt ?? 0;
  }

  /** @param {ChatLine[]} chat */
  count(chat) {
    const { length } = chat.filter(({ at_ms }) => at_ms > (this.#readAt ?? 0));
    return length;
  }
}
