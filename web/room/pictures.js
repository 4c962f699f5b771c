/**
 * The picture area of the room: the two large panes, the strip or gallery of
 * sites with its pages, the voices, and what of all this is visible (which is
 * what the bridge is asked for).
 */

import { byId, element, setIcon, showTrack } from "../shared/dom.js";
import { bestGrid, galleryCapacity, paginate, stripCapacity, twoPictures, ASPECT } from "./layout.js";
import { setSpeaker } from "../devices/media.js";
import { Pane } from "./pane.js";
import { setText } from "../shared/text/text.js";
import { Tile } from "./tiles.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/types.js").Member} Member */
/** @typedef {import("../shared/text/text.js").Text} Text */

const GAP_PX = 8;
/** Thumbnail slots grow in these steps, so that one more site never means one more offer. */
const SLOT_STEPS = [9, 16, 25, 36, 49];
const VIEW_DEBOUNCE_MS = 200;
/** A page in the background for this long asks for no pictures. */
const HIDDEN_DELAY_MS = 5000;
const PORTRAIT_MAX_WIDTH_PX = 900;

export class Pictures {
  /** @type {Conference} */ #conference;
  /** @type {Map<string, Tile>} tiles bound to thumbnail slots, by mid */ #slotTiles = new Map();
  /** @type {Tile[]} tiles of sites without a picture */ #plainTiles = [];
  /** @type {"equal" | "stage" | "content"} */ #focus = "equal";
  #isGallery = false;
  #isSaving = false;
  #page = 0;
  #first = 0;
  #capacity = 6;
  #isPageHidden = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #viewTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #hiddenTimer;
  /** @type {(participant: string) => void} */ #putOnStage;
  #speakerId;
  #abort = new AbortController();

  /**
   * @param {Conference} conference
   * @param {{speakerId: string, changed: () => void}} options
   */
  constructor(conference, { speakerId, changed }) {
    this.#conference = conference;
    this.#speakerId = speakerId;
    this.#putOnStage = (participant) => void conference.connection.send({ type: "stage", participant });
    this.stage = new Pane("stage", () => this.#enlarge("stage"));
    this.content = new Pane("content", () => this.#enlarge("content"));
    this.self = new Tile(this.#putOnStage, null, null);
    this.self.video.classList.add("mirrored");
    byId("large", HTMLElement).replaceChildren(this.stage.node, this.content.node);
    this.#tiles.replaceChildren(this.self.node);
    const { signal } = this.#abort;
    byId("sites-previous", HTMLButtonElement).addEventListener("click", () => this.turnPage(-1), { signal });
    byId("sites-next", HTMLButtonElement).addEventListener("click", () => this.turnPage(1), { signal });
    document.addEventListener("visibilitychange", () => this.#visibilityChanged(), { signal });
    this.resizing = new ResizeObserver(() => changed());
    this.resizing.observe(this.#pictures);
    this.resizing.observe(byId("sites", HTMLElement));
    this.resizing.observe(byId("large", HTMLElement));
  }

  get #pictures() {
    return byId("pictures", HTMLElement);
  }

  get #tiles() {
    return byId("tiles", HTMLElement);
  }

  get isGallery() {
    return this.#isGallery;
  }

  get isSaving() {
    return this.#isSaving;
  }

  toggleGallery() {
    this.#isGallery = !this.#isGallery;
    this.#page = 0;
    this.draw();
  }

  /** Pictures off, sound on: for a line that carries no more. */
  toggleSaving() {
    this.#isSaving = !this.#isSaving;
    this.draw();
  }

  /** @param {number} step */
  turnPage(step) {
    this.#page += step;
    this.draw();
  }

  /** @param {"stage" | "content"} which */
  #enlarge(which) {
    const hasBoth = !this.content.node.hidden && !this.stage.node.hidden;
    this.#focus = hasBoth && this.#focus !== which ? which : "equal";
    this.draw();
  }

  /** The peer connection has new slots, or is a new one: bind elements to them. */
  bindSlots() {
    const { peer } = this.#conference;
    if (!peer) return;
    for (const role of /** @type {const} */ (["stage", "content"])) {
      const slot = peer.slotsOf(role)[0];
      if (slot) this[role].connect(slot.mid, slot.track);
    }
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
      if (this.#slotTiles.has(mid)) continue;
      const tile = new Tile(this.#putOnStage, track, mid);
      this.#slotTiles.set(mid, tile);
      this.#tiles.append(tile.node);
    }
    // Sites without a picture come after those with one.
    this.#tiles.append(...this.#plainTiles.map((tile) => tile.node));
    this.#bindVoices();
    this.draw();
  }

  #bindVoices() {
    const holder = byId("voices", HTMLElement);
    const slots = this.#conference.peer?.slotsOf("voice") ?? [];
    holder.replaceChildren(
      ...slots.map(({ mid, track }) => {
        const player = element("audio", { attributes: { autoplay: "" } });
        player.dataset.mid = mid;
        showTrack(player, track);
        void setSpeaker(player, this.#speakerId);
        return player;
      }),
    );
  }

  /** @param {string} speakerId */
  chooseSpeaker(speakerId) {
    this.#speakerId = speakerId;
    for (const player of this.#voices) void setSpeaker(player, speakerId);
  }

  get #voices() {
    return [...byId("voices", HTMLElement).querySelectorAll("audio")];
  }

  /** Whether the browser refuses to play sound until the user clicks. */
  get isSoundBlocked() {
    return this.#voices.some((player) => player.paused && player.srcObject !== null);
  }

  playSound() {
    for (const player of this.#voices) void player.play().catch(() => undefined);
  }

  draw() {
    const { state } = this.#conference;
    if (!state.self) return;
    this.#drawContent();
    this.#drawStage();
    this.#arrange();
    this.#drawTiles();
    clearTimeout(this.#viewTimer);
    this.#viewTimer = setTimeout(() => this.#sendView(), VIEW_DEBOUNCE_MS);
  }

  #drawStage() {
    const { state, peer, sources } = this.#conference;
    const slot = peer?.slotsOf("stage")[0];
    const shown = slot ? state.slots.get(slot.mid) : null;
    const isAlone = state.others.length === 0;
    const isSelf = !shown && (isAlone || state.stage.participant === state.self);
    const member = (isSelf ? state.me : state.member(shown?.participant ?? state.stage.participant)) ?? null;
    const isRemote = Boolean(shown && member && member.camera === "on" && member.connected) && !this.#isSaving;
    const local = isSelf ? sources.track("camera") : null;
    /** @type {Text | null} */
    let cover = null;
    /** @type {Text | null} */
    let detail = null;
    if (isAlone) {
      cover = "room.alone.title";
      detail = "room.alone.text";
    } else if (!member) {
      cover = "room.stage.empty";
    } else if (!isSelf) {
      cover = member.connected
        ? this.#isSaving
          ? "room.saving"
          : member.camera === "on"
            ? "room.stage.empty"
            : "room.camera.off"
        : "room.disconnected";
    } else if (!local) {
      cover = "room.camera.off";
    }
    this.stage.node.classList.toggle("alone", isAlone);
    this.stage.draw({
      member,
      hasSource: Boolean(shown),
      isRemote,
      local,
      isMirrored: true,
      cover,
      detail,
      badge: isSelf && !isAlone ? "room.stage.self" : state.stage.mode === "chair" && !isAlone ? "room.pinned" : null,
      follow:
        state.mayModerate && state.stage.mode === "chair"
          ? () => void this.#conference.connection.send({ type: "stage", participant: null })
          : null,
      isSpeaking: Boolean(member && member.microphone === "on" && state.dominant === member.participant),
    });
  }

  #drawContent() {
    const { state, peer, sources } = this.#conference;
    const slot = peer?.slotsOf("content")[0];
    const shown = slot ? (state.slots.get(slot.mid) ?? null) : null;
    const isSelf = !shown && state.content?.participant === state.self;
    const origin = shown ?? state.content;
    const member = state.member(origin?.participant) ?? null;
    const hasContent = Boolean(member && (shown || state.content));
    this.content.node.hidden = !hasContent;
    if (!hasContent) {
      this.content.forget();
      return;
    }
    const source = origin?.source === "auxiliary" ? "auxiliary" : "content";
    this.content.draw({
      member,
      hasSource: Boolean(shown),
      isRemote: Boolean(shown) && !this.#isSaving,
      local: isSelf ? sources.track(source) : null,
      isMirrored: false,
      cover: this.#isSaving && !isSelf ? "room.saving" : "room.content",
      detail: null,
      badge: isSelf ? "room.content.self" : source === "auxiliary" ? "room.auxiliary" : "room.content",
      isSpeaking: false,
      follow: null,
    });
  }

  /** Sizes and places, from the room there is. */
  #arrange() {
    const pictures = this.#pictures;
    const hasContent = !this.content.node.hidden;
    const isPortrait = pictures.clientWidth < PORTRAIT_MAX_WIDTH_PX && pictures.clientHeight > pictures.clientWidth;
    pictures.dataset.view = this.#isGallery ? "gallery" : "stage";
    pictures.dataset.shape = isPortrait ? "portrait" : "landscape";
    pictures.dataset.content = String(hasContent);
    this.stage.node.hidden = this.#isGallery;
    const large = byId("large", HTMLElement);
    large.hidden = this.#isGallery && !hasContent;
    const isTwo = hasContent && !this.#isGallery;
    if (!isTwo) this.#focus = "equal";
    const { arrangement, stageShare } = twoPictures(isTwo, this.#focus, large.clientWidth, large.clientHeight);
    large.dataset.arrangement = isPortrait && isTwo ? "column" : arrangement;
    large.style.setProperty("--stage-share", `${stageShare}fr`);
    large.style.setProperty("--content-share", `${isTwo ? 1 - stageShare : 1}fr`);
    for (const pane of [this.stage, this.content]) {
      pane.enlarge.hidden = !isTwo;
      pane.enlarge.setAttribute("aria-pressed", String(this.#focus === pane.role));
      setIcon(pane.enlarge, this.#focus === pane.role ? "shrink" : "fullscreen");
    }
    this.#fitTiles(isPortrait);
  }

  /** @param {boolean} isPortrait */
  #fitTiles(isPortrait) {
    const { state } = this.#conference;
    const tiles = this.#tiles;
    const { clientWidth: width, clientHeight: height } = tiles;
    const total = state.others.length + 1;
    const limit = state.thumbnailsMax + 1;
    if (this.#isGallery || isPortrait) {
      const minimum = width < 600 ? 150 : width < 1200 ? 200 : 240;
      this.#capacity = galleryCapacity(width, height, GAP_PX, minimum, limit);
      const count = Math.min(total, this.#capacity);
      const grid = bestGrid(count, width, height, GAP_PX);
      tiles.style.setProperty("--tile-width", `${grid.tileWidth}px`);
      tiles.style.setProperty("--tile-height", `${grid.tileHeight}px`);
    } else {
      tiles.style.setProperty("--tile-width", `${Math.floor(height * ASPECT)}px`);
      tiles.style.setProperty("--tile-height", `${height}px`);
      this.#capacity = stripCapacity(width, height * ASPECT, GAP_PX, limit);
    }
  }

  #drawTiles() {
    const { state, peer, sources } = this.#conference;
    const thumbnails = peer?.slotsOf("thumbnail") ?? [];
    // One's own picture is on every page.
    const perPage = Math.max(1, this.#capacity - 1);
    const { page, pages, first } = paginate(state.others.length, perPage, this.#page);
    this.#page = page;
    this.#first = first;
    const wantedSlots = Math.min(perPage, state.cameras.length, state.thumbnailsMax);
    if (peer && wantedSlots > thumbnails.length) {
      peer.ensureThumbnails(SLOT_STEPS.find((step) => step >= wantedSlots) ?? state.thumbnailsMax);
    }
    const mids = thumbnails.map(({ mid }) => mid);
    const { pictures, plain } = state.page(mids, first, perPage);
    const byMid = new Map(pictures.map(({ mid, member }) => [mid, member]));
    const isPair = state.others.length === 1 && !this.#isGallery;
    for (const [mid, tile] of this.#slotTiles) {
      const member = byMid.get(mid);
      // With two sites the other one already fills the stage.
      if (member && !(isPair && this.#isOnStage(member))) this.#drawTile(tile, member);
      else tile.hide();
    }
    const rest = plain.filter((member) => !(isPair && this.#isOnStage(member)));
    while (this.#plainTiles.length < rest.length) {
      const tile = new Tile(this.#putOnStage, null, null);
      this.#plainTiles.push(tile);
      this.#tiles.append(tile.node);
    }
    for (const [index, tile] of this.#plainTiles.entries()) {
      const member = rest[index];
      if (member) this.#drawTile(tile, member);
      else tile.hide();
    }
    if (state.me) {
      this.#drawTile(this.self, { ...state.me, camera: sources.isOn("camera") ? "on" : "off", microphone: sources.isOn("microphone") ? "on" : "muted" });
      showTrack(this.self.video, sources.isOn("camera") ? sources.track("camera") : null);
    }
    this.#drawPager(page, pages);
  }

  /** @param {Member} member */
  #isOnStage(member) {
    const { state, peer } = this.#conference;
    const slot = peer?.slotsOf("stage")[0];
    const shown = slot ? state.slots.get(slot.mid) : null;
    return (shown?.participant ?? state.stage.participant) === member.participant;
  }

  /**
   * @param {Tile} tile
   * @param {Member} member
   */
  #drawTile(tile, member) {
    const { state } = this.#conference;
    const mayBeHeard = member.microphone === "on" && member.connected;
    tile.draw(member, {
      isSelf: member.participant === state.self,
      isSpeaking: mayBeHeard && state.voices.includes(member.participant),
      isDominant: mayBeHeard && state.dominant === member.participant,
      isOnStage: this.#isOnStage(member) && state.others.length > 0,
      mayModerate: state.mayModerate,
      handOrder: state.handOrder(member),
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

  #visibilityChanged() {
    clearTimeout(this.#hiddenTimer);
    const delay = document.hidden ? HIDDEN_DELAY_MS : 0;
    this.#hiddenTimer = setTimeout(() => {
      this.#isPageHidden = document.hidden;
      this.#sendView();
    }, delay);
  }

  /** Tell the bridge how many pixels high each slot is on this screen. */
  #sendView() {
    const { peer } = this.#conference;
    if (!peer) return;
    const scale = window.devicePixelRatio || 1;
    const isDark = this.#isPageHidden || this.#isSaving;
    /** @param {number} cssHeight */
    const pixels = (cssHeight) => (isDark ? 0 : Math.round(cssHeight * scale));
    /** @type {Record<string, number>} */
    const heights = {};
    const large = byId("large", HTMLElement);
    for (const { mid } of peer.slotsOf("stage")) heights[mid] = pixels(this.stage.pictureHeight());
    // A content pane that is not there yet is asked for at the size it will have.
    for (const { mid } of peer.slotsOf("content")) {
      heights[mid] = pixels(this.content.node.hidden ? large.clientHeight : this.content.pictureHeight());
    }
    // So are the slots that the page has room for and that show nobody yet.
    const tileHeight = this.self.node.clientHeight;
    const thumbnails = peer.slotsOf("thumbnail");
    const count = Math.min(Math.max(1, this.#capacity - 1), thumbnails.length);
    let room = count;
    for (const { mid } of thumbnails) {
      const isShown = this.#slotTiles.get(mid)?.node.hidden === false;
      if (isShown) room -= 1;
      heights[mid] = isShown ? pixels(tileHeight) : 0;
    }
    for (const { mid } of thumbnails) {
      if (room <= 0) break;
      if (this.#slotTiles.get(mid)?.node.hidden === false || this.#conference.state.slots.get(mid)) continue;
      heights[mid] = pixels(tileHeight);
      room -= 1;
    }
    this.#conference.show({ heights, thumbnails: { first: this.#first, count: isDark ? 0 : count } });
  }

  close() {
    clearTimeout(this.#viewTimer);
    clearTimeout(this.#hiddenTimer);
    this.#abort.abort();
    this.resizing.disconnect();
    byId("large", HTMLElement).replaceChildren();
    this.#tiles.replaceChildren();
    byId("voices", HTMLElement).replaceChildren();
  }
}
