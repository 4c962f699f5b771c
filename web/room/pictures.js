/**
 * The picture area of the room: the two large panes, beside them the strip or
 * gallery and the voices, and what of all this is visible (which is what the
 * bridge is asked for).
 */

import { byId, setIcon } from "../shared/dom.js";
import { onDevicesChanged } from "../devices/media.js";
import { Best } from "../protocol/sharpness.js";
import { wishedHeight } from "../protocol/wish.js";
import { twoPictures } from "./layout.js";
import { Pane } from "./pane.js";
import { StaleReader } from "./stale.js";
import { Strip } from "./strip.js";
import { Voices } from "./voices.js";
import { Watch } from "./watch.js";

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/text/text.js").Text} Text */
/** @typedef {import("../protocol/freshness.js").Seen} Seen */
/** @typedef {import("../protocol/freshness.js").Stale} Stale */
/** @typedef {import("../protocol/wish.js").Wish} Wish */

const VIEW_DEBOUNCE_MS = 200;
/** A page in the background for this long asks for no pictures. */
const HIDDEN_DELAY_MS = 5000;
const PORTRAIT_MAX_WIDTH_PX = 900;

export class Pictures {
  /** @type {Conference} */ #conference;
  /** @type {"equal" | "stage" | "content"} */ #focus = "equal";
  #isGallery = false;
  /** @type {Wish} */ #wish;
  #isPageHidden = false;
  #best = new Best();
  #readers = { stage: new StaleReader(), content: new StaleReader() };
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #viewTimer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #hiddenTimer;
  #abort = new AbortController();

  /**
   * @param {Conference} conference
   * @param {{speakerId: string, wish: Wish, changed: () => void}} options
   */
  constructor(conference, { speakerId, wish, changed }) {
    this.#conference = conference;
    this.#wish = wish;
    this.stage = new Pane("stage", () => this.#enlarge("stage"));
    this.content = new Pane("content", () => this.#enlarge("content"));
    this.strip = new Strip(conference);
    this.voices = new Voices(speakerId);
    this.watch = new Watch(conference, {
      videos: () => this.#framed().map(([mid, frame]) => [mid, frame.video, "role" in frame]),
      seen: () => this.#seen(),
      show: (stale, nowMs) => this.#showStale(stale, nowMs),
    });
    byId("large", HTMLElement).replaceChildren(this.stage.node, this.content.node);
    const { signal } = this.#abort;
    byId("sites-previous", HTMLButtonElement).addEventListener("click", () => this.turnPage(-1), { signal });
    byId("sites-next", HTMLButtonElement).addEventListener("click", () => this.turnPage(1), { signal });
    document.addEventListener("visibilitychange", () => this.#visibilityChanged(), { signal });
    signal.addEventListener("abort", onDevicesChanged(() => void this.voices.speakersChanged()));
    this.resizing = new ResizeObserver(() => changed());
    this.resizing.observe(this.#pictures);
    this.resizing.observe(byId("sites", HTMLElement));
    this.resizing.observe(byId("large", HTMLElement));
  }

  get #pictures() {
    return byId("pictures", HTMLElement);
  }

  get isGallery() {
    return this.#isGallery;
  }

  /** What this page wishes to receive of pictures. */
  get wish() {
    return this.#wish;
  }

  /** Voices only: for a line that carries no more. */
  get #isListening() {
    return this.#wish === "none";
  }

  toggleGallery() {
    this.#isGallery = !this.#isGallery;
    this.strip.firstPage();
    this.draw();
  }

  /** @param {Wish} wish */
  wishFor(wish) {
    this.#wish = wish;
    this.draw();
  }

  /** @param {number} step */
  turnPage(step) {
    this.strip.turnPage(step);
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
      if (!slot) continue;
      this[role].connect(slot.mid, slot.track);
    }
    this.strip.bind(peer);
    this.voices.bind(peer.slotsOf("voice"));
    this.draw();
  }

  /** @param {string} speakerId */
  chooseSpeaker(speakerId) {
    this.voices.choose(speakerId);
  }

  get isSoundBlocked() {
    return this.voices.isBlocked;
  }

  playSound() {
    this.voices.play();
  }

  draw() {
    const { state } = this.#conference;
    if (!state.self) return;
    this.#drawContent();
    this.#drawStage();
    this.#arrange();
    this.strip.draw(this.#isGallery);
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
    const isUndecodable = slot !== undefined && state.unsupported.has(slot.mid);
    const isRemote =
      Boolean(shown && member && member.camera === "on" && member.connected) && !this.#isListening && !isUndecodable;
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
        ? this.#isListening
          ? "room.saving"
          : isUndecodable
            ? "room.undecodable"
            : member.signal === false
              ? "stale.long.no-signal"
              : member.camera === "on"
                ? "room.stage.empty"
                : "room.camera.off"
        : "room.disconnected";
      const pause = slot && shown ? state.pauses.get(slot.mid) : undefined;
      if (cover === "room.undecodable") detail = "room.undecodable.text";
      else if (cover === "room.stage.empty" && pause) detail = `stale.long.${pause}`;
    } else if (!local) {
      cover = "room.camera.off";
    }
    this.stage.node.classList.toggle("alone", isAlone);
    const isSelfOnStage = !isAlone && state.stage.participant === state.self;
    const isChosen = state.stage.mode === "chair" && member?.participant === state.stage.participant;
    this.stage.draw({
      member,
      hasSource: Boolean(shown),
      isRemote,
      local,
      isMirrored: true,
      cover,
      detail,
      badge: isSelfOnStage ? (isSelf ? "room.stage.self" : "room.stage.other") : isChosen && !isAlone ? "room.pinned" : null,
      follow:
        state.mayModerate && state.stage.mode === "chair"
          ? () => void this.#conference.connection.send({ type: "stage", participant: null })
          : null,
      isReduced: false,
      isSpeaking: Boolean(member && state.mayBeHeard(member) && state.dominant === member.participant),
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
    const isUndecodable = Boolean(slot && shown && state.unsupported.has(slot.mid));
    /** @type {Text} */
    const cover = this.#isListening && !isSelf ? "room.saving" : isUndecodable ? "room.undecodable" : "room.content";
    this.content.draw({
      member,
      hasSource: Boolean(shown),
      isRemote: Boolean(shown) && !this.#isListening && !isUndecodable,
      local: isSelf ? sources.track(source) : null,
      isMirrored: false,
      cover,
      detail: cover === "room.undecodable" ? "room.undecodable.text" : null,
      badge: isSelf ? "room.content.self" : source === "auxiliary" ? "room.auxiliary" : "room.content",
      isReduced: isSelf
        ? source === "content" && Boolean(peer?.isSentReduced)
        : !this.#isListening && this.#best.isReduced(
            `${origin?.participant}/${source}`,
            shown ? (peer?.received ?? null) : null,
            this.content.pictureHeight() * (window.devicePixelRatio || 1),
          ),
      isSpeaking: false,
      follow: null,
    });
  }

  /** What shows the pictures of slots, by mid. @returns {[string, import("./pane.js").Pane | import("./tiles.js").Tile][]} */
  #framed() {
    const { peer } = this.#conference;
    /** @type {[string, import("./pane.js").Pane | import("./tiles.js").Tile][]} */
    const framed = [...this.strip.slotTiles];
    for (const role of /** @type {const} */ (["stage", "content"])) {
      const slot = peer?.slotsOf(role)[0];
      if (slot) framed.push([slot.mid, this[role]]);
    }
    return framed;
  }

  /** The pictures of others that are to be seen now. @returns {Map<string, Seen>} */
  #seen() {
    const { state } = this.#conference;
    /** @type {Map<string, Seen>} */
    const seen = new Map();
    for (const [mid, frame] of this.#framed()) {
      const shown = state.slots.get(mid);
      if (!shown || !frame.showsPicture) continue;
      const { participant, source } = shown;
      seen.set(mid, { picture: `${participant}/${source}`, moves: source !== "content", pause: state.pauses.get(mid) ?? null });
    }
    return seen;
  }

  /**
   * @param {Map<string, Stale>} stale  by mid
   * @param {number} nowMs
   */
  #showStale(stale, nowMs) {
    const { state } = this.#conference;
    for (const [mid, frame] of this.#framed()) {
      frame.mark.draw(stale.get(mid) ?? null);
      const site = state.member(state.slots.get(mid)?.participant)?.site;
      if (site && "role" in frame) this.#readers[frame.role].look(site, stale.get(mid) ?? null, nowMs);
    }
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
    this.strip.fit(this.#isGallery || isPortrait);
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
    const isDark = this.#isPageHidden || this.#isListening;
    /** @param {"large" | "small"} size @returns {(cssHeight: number) => number} */
    const pixels = (size) => (cssHeight) => (isDark ? 0 : wishedHeight(this.#wish, size, Math.round(cssHeight * scale)));
    const large = pixels("large");
    /** @type {Record<string, number>} */
    const heights = {};
    const area = byId("large", HTMLElement);
    for (const { mid } of peer.slotsOf("stage")) heights[mid] = large(this.stage.pictureHeight());
    // A content pane that is not there yet is asked for at the size it will have.
    for (const { mid } of peer.slotsOf("content")) {
      heights[mid] = large(this.content.node.hidden ? area.clientHeight : this.content.pictureHeight());
    }
    const strip = this.strip.view(pixels("small"));
    this.#conference.show({
      heights: { ...heights, ...strip.heights },
      thumbnails: { first: this.strip.first, count: isDark ? 0 : strip.count },
    });
  }

  close() {
    clearTimeout(this.#viewTimer);
    clearTimeout(this.#hiddenTimer);
    this.watch.close();
    this.#abort.abort();
    this.resizing.disconnect();
    byId("large", HTMLElement).replaceChildren();
    this.strip.close();
    this.voices.close();
  }
}
