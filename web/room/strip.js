/**
 * The small pictures: the strip under the stage, or the gallery, with its
 * pages. Tiles of slots show what the bridge puts there; sites without a
 * picture have tiles too.
 */

import { byId, showTrack } from "../shared/dom.js";
import { setText } from "../shared/text/text.js";
import { ASPECT, bestGrid, galleryCapacity, paginate, stripCapacity } from "./layout.js";
import { Tile } from "./tiles.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/types.js").Member} Member */

const GAP_PX = 8;
/** Thumbnail slots grow in these steps, so that one more site never means one more offer. */
const SLOT_STEPS = [9, 16, 25, 36, 49];

export class Strip {
  /** @type {Conference} */ #conference;
  /** @type {Map<string, Tile>} tiles bound to thumbnail slots, by mid */ #slotTiles = new Map();
  /** @type {Tile[]} tiles of sites without a picture */ #plainTiles = [];
  #page = 0;
  #capacity = 6;
  first = 0;

  /** @param {Conference} conference */
  constructor(conference) {
    this.#conference = conference;
    this.self = this.#tile(null, null);
    this.self.video.classList.add("mirrored");
    this.#tiles.replaceChildren(this.self.node);
  }

  get #tiles() {
    return byId("tiles", HTMLElement);
  }

  /**
   * @param {MediaStreamTrack | null} track
   * @param {string | null} mid
   */
  #tile(track, mid) {
    const putOnStage = (/** @type {string} */ participant) =>
      void this.#conference.connection.send({ type: "stage", participant });
    return new Tile(putOnStage, track, mid);
  }

  /** How many sites beside one's own a page has room for. */
  get perPage() {
    // One's own picture is on every page.
    return Math.max(1, this.#capacity - 1);
  }

  /** @param {number} step */
  turnPage(step) {
    this.#page += step;
  }

  firstPage() {
    this.#page = 0;
  }

  /** @param {import("../protocol/peer.js").Peer} peer */
  bind(peer) {
    const thumbnails = peer.slotsOf("thumbnail");
    for (const tile of this.#slotTiles.values()) {
      const slot = thumbnails.find(({ mid }) => mid === tile.mid);
      if (slot) {
        showTrack(tile.video, slot.track);
      } else {
        tile.node.remove();
        this.#slotTiles.delete(tile.mid ?? "");
      }
    }
    for (const { mid, track } of thumbnails) {
      const tile = this.#slotTiles.get(mid) ?? this.#tile(track, mid);
      if (this.#slotTiles.has(mid)) continue;
      this.#slotTiles.set(mid, tile);
      this.#tiles.append(tile.node);
    }
    // Sites without a picture come after those with one.
    this.#tiles.append(...this.#plainTiles.map((tile) => tile.node));
  }

  /** The tiles of slots, by mid. @returns {Map<string, Tile>} */
  get slotTiles() {
    return this.#slotTiles;
  }

  /**
   * Size the tiles to the room there is.
   * @param {boolean} isGrid  gallery or portrait: rows of tiles, and not one strip
   */
  fit(isGrid) {
    const { state } = this.#conference;
    const tiles = this.#tiles;
    // Whole pixels that are there: rounded up by a half, the last tile of a row falls into the next one.
    const box = tiles.getBoundingClientRect();
    const [width, height] = [Math.floor(box.width), Math.floor(box.height)];
    const total = state.others.length + 1;
    const limit = state.thumbnailsMax + 1;
    // The name stands under the face.
    const labelPx = this.self.label.offsetHeight;
    if (isGrid) {
      const minimum = width < 600 ? 150 : width < 1200 ? 200 : 240;
      this.#capacity = galleryCapacity(width, height, GAP_PX, minimum, limit, labelPx);
      const grid = bestGrid(Math.min(total, this.#capacity), width, height, GAP_PX, labelPx);
      tiles.style.setProperty("--tile-width", `${grid.tileWidth}px`);
      tiles.style.setProperty("--tile-height", `${grid.tileHeight}px`);
    } else {
      const tileWidth = Math.max(0, Math.floor((height - labelPx) * ASPECT));
      tiles.style.setProperty("--tile-width", `${tileWidth}px`);
      tiles.style.setProperty("--tile-height", `${height}px`);
      this.#capacity = stripCapacity(width, tileWidth, GAP_PX, limit);
    }
  }

  /** @param {boolean} isGallery */
  draw(isGallery) {
    const { state, peer, sources } = this.#conference;
    const thumbnails = peer?.slotsOf("thumbnail") ?? [];
    const { perPage } = this;
    const { page, pages, first } = paginate(state.others.length, perPage, this.#page);
    this.#page = page;
    this.first = first;
    const wantedSlots = Math.min(perPage, state.cameras.length, state.thumbnailsMax);
    if (peer && wantedSlots > thumbnails.length) {
      peer.ensureThumbnails(SLOT_STEPS.find((step) => step >= wantedSlots) ?? state.thumbnailsMax);
    }
    const mids = thumbnails.map(({ mid }) => mid);
    const { pictures, plain } = state.page(mids, first, perPage);
    const byMid = new Map(pictures.map(({ mid, member }) => [mid, member]));
    // With two sites the other one already fills the stage.
    const hidden = state.others.length === 1 && !isGallery ? this.#shownLarge() : null;
    for (const [mid, tile] of this.#slotTiles) {
      const member = byMid.get(mid);
      if (member && member.participant !== hidden) this.#drawTile(tile, member);
      else tile.hide();
    }
    const rest = plain.filter((member) => member.participant !== hidden);
    while (this.#plainTiles.length < rest.length) {
      const tile = this.#tile(null, null);
      this.#plainTiles.push(tile);
      this.#tiles.append(tile.node);
    }
    for (const [index, tile] of this.#plainTiles.entries()) {
      const member = rest[index];
      if (member) this.#drawTile(tile, member);
      else tile.hide();
    }
    if (state.me) {
      this.#drawTile(this.self, { ...state.me, camera: sources.isOn("camera") ? "on" : "off", microphone: this.#ownMicrophone() });
      showTrack(this.self.video, sources.isOn("camera") ? sources.track("camera") : null);
    }
    this.#drawPager(page, pages);
  }

  /** @returns {Member["microphone"]} */
  #ownMicrophone() {
    const { sources } = this.#conference;
    if (!sources.isOn("microphone")) return "muted";
    return sources.isInterrupted("microphone") ? "interrupted" : "on";
  }

  /** Whose picture the stage shows on this page. */
  #shownLarge() {
    const { state, peer } = this.#conference;
    const slot = peer?.slotsOf("stage")[0];
    const shown = slot ? state.slots.get(slot.mid) : null;
    return shown?.participant ?? state.stage.participant;
  }

  /**
   * @param {Tile} tile
   * @param {Member} member
   */
  #drawTile(tile, member) {
    const { state } = this.#conference;
    const mayBeHeard = state.mayBeHeard(member);
    tile.draw(member, {
      isSelf: member.participant === state.self,
      isSpeaking: mayBeHeard && state.voices.includes(member.participant),
      isDominant: mayBeHeard && state.dominant === member.participant,
      isOnStage: state.stage.participant === member.participant && state.others.length > 0,
      isUndecodable: tile.mid !== null && state.unsupported.has(tile.mid),
      mayModerate: state.mayModerate,
      // Whoever has lost the line cannot be given the floor.
      handOrder: member.connected ? state.handOrder(member) : null,
    });
  }

  /**
   * @param {number} page
   * @param {number} pages
   */
  #drawPager(page, pages) {
    const previous = byId("sites-previous", HTMLButtonElement);
    const next = byId("sites-next", HTMLButtonElement);
    const word = byId("sites-page", HTMLElement);
    previous.hidden = next.hidden = word.hidden = pages < 2;
    previous.disabled = page === 0;
    next.disabled = page >= pages - 1;
    word.textContent = `${page + 1}/${pages}`;
    setText(word, "label", ["sites.page", { page: page + 1, pages }]);
  }

  /**
   * How high each slot's picture is on this page, and those that it has room for and that show nobody yet.
   * @param {(cssHeight: number) => number} pixels
   * @returns {{heights: Record<string, number>, count: number}}
   */
  view(pixels) {
    const { peer, state } = this.#conference;
    const height = this.self.face.clientHeight;
    const thumbnails = peer?.slotsOf("thumbnail") ?? [];
    const count = Math.min(this.perPage, thumbnails.length);
    let room = count;
    /** @type {Record<string, number>} */
    const heights = {};
    for (const { mid } of thumbnails) {
      const isShown = this.#slotTiles.get(mid)?.node.hidden === false;
      if (isShown) room -= 1;
      heights[mid] = isShown ? pixels(height) : 0;
    }
    for (const { mid } of thumbnails) {
      if (room <= 0) break;
      if (heights[mid] || this.#slotTiles.get(mid)?.node.hidden === false || state.slots.get(mid)) continue;
      heights[mid] = pixels(height);
      room -= 1;
    }
    return { heights, count };
  }

  close() {
    this.#tiles.replaceChildren();
  }
}
