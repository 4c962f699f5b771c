/** The voices of the room: one audio element for each slot that carries one. */

import { listDevices } from "../devices/media.js";
import { setSpeaker } from "../devices/sound.js";
import { toast } from "../shared/dialogs.js";
import { byId, element, showTrack } from "../shared/dom.js";

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
    void this.#use(speakerId);
  }

  /** @param {string} speakerId */
  async #use(speakerId) {
    const isThere = await Promise.all(this.#players.map((player) => setSpeaker(player, speakerId)));
    if (isThere.includes(false)) toast("device.speaker.gone", { isWarning: true });
  }

  /** The chosen loudspeaker was unplugged, or is back: a voice must not go into nothing. */
  async speakersChanged() {
    const { speakers } = await listDevices();
    if (!this.#speakerId || speakers.length === 0) return;
    const isThere = speakers.some(({ deviceId }) => deviceId === this.#speakerId);
    const wasThere = this.#players.every((player) => player.sinkId !== "");
    if (isThere) await this.#use(this.#speakerId);
    else if (wasThere) {
      await this.#use("");
      toast("device.speaker.gone", { isWarning: true });
    }
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
