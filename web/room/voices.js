/** The voices of the room: one audio element for each slot that carries one. */

import { byId, element, showTrack } from "../shared/dom.js";
import { setSpeaker } from "../devices/media.js";

export class Voices {
  #speakerId;

  /** @param {string} speakerId  the output they are played on */
  constructor(speakerId) {
    this.#speakerId = speakerId;
  }

  get #holder() {
    return byId("voices", HTMLElement);
  }

  get #players() {
    return [...this.#holder.querySelectorAll("audio")];
  }

  /**
   * Give each slot its player; one that is there already goes on without a gap.
   * @param {{mid: string, track: MediaStreamTrack}[]} slots
   */
  bind(slots) {
    const byMid = new Map(this.#players.map((player) => [player.dataset.mid, player]));
    for (const { mid, track } of slots) {
      const player = byMid.get(mid) ?? this.#add(mid);
      byMid.delete(mid);
      showTrack(player, track);
    }
    for (const player of byMid.values()) player.remove();
  }

  /** @param {string} mid */
  #add(mid) {
    const player = element("audio", { attributes: { autoplay: "" } });
    player.dataset.mid = mid;
    void setSpeaker(player, this.#speakerId);
    this.#holder.append(player);
    return player;
  }

  /** @param {string} speakerId */
  choose(speakerId) {
    this.#speakerId = speakerId;
    for (const player of this.#players) void setSpeaker(player, speakerId);
  }

  /** Whether the browser refuses to play sound until the user clicks. */
  get isBlocked() {
    return this.#players.some((player) => player.paused && player.srcObject !== null);
  }

  play() {
    for (const player of this.#players) void player.play().catch(() => undefined);
  }

  close() {
    this.#holder.replaceChildren();
  }
}
