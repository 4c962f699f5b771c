/**
 * What the page knows of the room, built from the bridge's messages. Pure: no
 * DOM, no clock, no network; a view asks it and draws.
 */

/** @typedef {import("../shared/types.js").BridgeMessage} BridgeMessage */
/** @typedef {import("../shared/types.js").Member} Member */
/** @typedef {import("../shared/types.js").Shown} Shown */
/** @typedef {import("../shared/types.js").Stage} Stage */
/** @typedef {import("../shared/types.js").PauseReason} PauseReason */
/** @typedef {import("../shared/types.js").ChatLine} ChatLine */
/** @typedef {import("../shared/types.js").Waiting} Waiting */
/** @typedef {import("../shared/types.js").Quality} Quality */
/** @typedef {import("../shared/types.js").Welcome} Welcome */
/** @typedef {import("../shared/types.js").Role} Role */
/** @typedef {import("../shared/types.js").RecordingStatus} RecordingStatus */
/** @typedef {import("../shared/types.js").CaseLine} CaseLine */

const CHAT_LIMIT = 500;
/** In this order the bridge counts cameras, those of one role as they joined. @type {Role[]} */
const RANKS = ["chair", "secretary", "presenter", "expert", "observer"];

export class RoomState {
  /** @type {string | null} one's own participant id */ self = null;
  /** @type {Role} */ role = "observer";
  roomId = "";
  title = "";
  isLocked = false;
  mayPublish = false;
  thumbnailsMax = 49;
  count = 0;
  /** @type {Map<string, Member>} in the order of joining */ roster = new Map();
  /** @type {Stage} */ stage = { participant: null, mode: "speaker" };
  /** @type {Shown | null} */ content = null;
  /** @type {Map<string, Shown | null>} by mid */ slots = new Map();
  /** @type {Set<string>} mids that stay empty: this browser does not decode what is shown there */ unsupported = new Set();
  /** @type {Map<string, PauseReason>} by mid: why no new picture comes there */ pauses = new Map();
  /** @type {string[]} */ voices = [];
  /** @type {string | null} */ dominant = null;
  /** @type {ChatLine[]} */ chat = [];
  /** @type {Waiting[]} */ waiting = [];
  /** @type {Quality | null} */ quality = null;
  /** @type {RecordingStatus} */
  recording = { state: "off", reason: null, case: null, code: null, problem: null, since_ms: 0 };
  /** @type {Map<string, import("../shared/types.js").Weakness>} by participant; only chair and secretary are told */ weak = new Map();
  /** @type {CaseLine[]} only chair and secretary are told */ cases = [];

  /** Chair and secretary may moderate. */
  get mayModerate() {
    return this.role === "chair" || this.role === "secretary";
  }

  /** The case that is discussed now. @returns {CaseLine | undefined} */
  get active() {
    return this.cases.find(({ state }) => state === "active");
  }

  /**
   * Take a message in.
   * @param {BridgeMessage} message
   */
  apply(message) {
    switch (message.type) {
      case "welcome":
        this.#welcome(message);
        break;
      case "slots":
        for (const [mid, shown] of Object.entries(message.slots)) {
          this.slots.set(mid, shown);
          this.unsupported.delete(mid);
          this.pauses.delete(mid);
        }
        for (const [mid, pause] of Object.entries(message.paused ?? {})) {
          if (pause) this.pauses.set(mid, pause);
          else this.pauses.delete(mid);
        }
        for (const mid of message.unsupported ?? []) this.unsupported.add(mid);
        break;
      case "roster":
        for (const member of message.joined ?? []) this.roster.set(member.participant, member);
        for (const member of message.changed ?? []) this.roster.set(member.participant, member);
        for (const participant of message.left ?? []) {
          this.roster.delete(participant);
          this.weak.delete(participant);
        }
        this.count = message.count;
        break;
      case "stage":
        this.stage = { participant: message.participant, mode: message.mode };
        break;
      case "content":
        this.content = message.participant
          ? { participant: message.participant, source: message.source ?? "content" }
          : null;
        break;
      case "speakers":
        this.voices = message.voices;
        this.dominant = message.dominant;
        break;
      case "chat":
        this.chat.push(message);
        if (this.chat.length > CHAT_LIMIT) this.chat.shift();
        break;
      case "floor":
        this.mayPublish = message.granted;
        break;
      case "locked":
        this.isLocked = message.locked;
        break;
      case "knock":
        this.waiting = message.waiting;
        break;
      case "recording":
        this.recording = message;
        break;
      case "cases":
        this.cases = message.cases;
        break;
      case "conditions":
        for (const [participant, weakness] of Object.entries(message.weak)) {
          if (weakness) this.weak.set(participant, weakness);
          else this.weak.delete(participant);
        }
        break;
      case "quality":
        this.quality = message;
        break;
      default:
        break;
    }
  }

  /** @param {Welcome} welcome */
  #welcome(welcome) {
    this.self = welcome.participant;
    this.role = welcome.role;
    this.roomId = welcome.room.id;
    this.title = welcome.room.title;
    this.isLocked = welcome.room.locked;
    this.stage = welcome.room.stage ?? { participant: null, mode: "speaker" };
    this.content = welcome.room.content?.participant ? welcome.room.content : null;
    this.roster = new Map(welcome.roster.map((member) => [member.participant, member]));
    this.count = welcome.count;
    this.chat = welcome.chat.slice(-CHAT_LIMIT);
    this.thumbnailsMax = welcome.thumbnails_max;
    this.mayPublish = welcome.may_publish;
    this.waiting = welcome.waiting ?? [];
    this.recording = welcome.room.recording;
    this.cases = welcome.cases ?? [];
    this.weak = new Map();
    if (!welcome.resumed) {
      this.forgetSlots();
      this.voices = [];
      this.dominant = null;
      this.quality = null;
    }
  }

  /** Another peer connection: nothing is in its slots until the bridge says so. */
  forgetSlots() {
    this.slots = new Map();
    this.unsupported = new Set();
    this.pauses = new Map();
  }

  /**
   * Whether somebody can be heard now: not from a dead line, whatever was heard of it last.
   * @param {Member | null | undefined} member
   */
  mayBeHeard(member) {
    return Boolean(member && member.microphone === "on" && member.connected && member.signal !== false);
  }

  /** Whether the bridge pauses a picture because this page's own line does not bear it. */
  get isHeldBack() {
    return [...this.pauses.values()].includes("line");
  }

  /**
   * @param {string | null | undefined} participant
   * @returns {Member | undefined}
   */
  member(participant) {
    return participant ? this.roster.get(participant) : undefined;
  }

  /** @returns {Member | undefined} */
  get me() {
    return this.member(this.self);
  }

  /** Everybody but oneself. @returns {Member[]} */
  get others() {
    return [...this.roster.values()].filter((member) => member.participant !== this.self);
  }

  /** Others whose camera is on, in the bridge's order: the list the thumbnails are counted in. @returns {Member[]} */
  get cameras() {
    return this.others
      .filter((member) => member.camera === "on")
      .sort((a, b) => RANKS.indexOf(a.role) - RANKS.indexOf(b.role));
  }

  /**
   * Whether this browser cannot decode a picture of theirs that is to be seen here.
   * @param {string} participant
   */
  isUndecodable(participant) {
    return [...this.unsupported].some((mid) => this.slots.get(mid)?.participant === participant);
  }

  /** How much a site needs somebody to look after it, 0 most: no signal, a weak line, a long way, nothing. @param {Member} member */
  need(member) {
    if (!member.connected || member.signal === false) return 0;
    const weakness = this.weak.get(member.participant);
    return weakness === undefined ? 3 : weakness === "relay" ? 2 : 1;
  }

  /** Raised hands, first come first. @returns {Member[]} */
  get hands() {
    return [...this.roster.values()]
      .filter((member) => member.hand !== null && member.hand !== undefined)
      .sort((a, b) => Number(a.hand) - Number(b.hand));
  }

  /**
   * Place in the queue of raised hands, 1 = next.
   * @param {Member} member
   * @returns {number | null}
   */
  handOrder(member) {
    const index = this.hands.findIndex(({ participant }) => participant === member.participant);
    return index < 0 ? null : index + 1;
  }

  /**
   * Who appears on page `first`..`first + count` of the thumbnails: what the
   * slots show, then the sites without a picture, in the order of joining.
   * @param {string[]} mids  the thumbnail slots, in order
   * @param {number} first
   * @param {number} count
   * @returns {{pictures: {mid: string, member: Member}[], plain: Member[]}}
   */
  page(mids, first, count) {
    const cameras = this.cameras;
    /** @type {{mid: string, member: Member}[]} */
    const pictures = [];
    const pictured = new Set();
    for (const mid of mids) {
      if (pictures.length === count) break;
      const member = this.member(this.slots.get(mid)?.participant);
      if (!member || member.participant === this.self || pictured.has(member.participant)) continue;
      pictures.push({ mid, member });
      pictured.add(member.participant);
    }
    const awaited = cameras.slice(first, first + count).filter((member) => !pictured.has(member.participant));
    const unpictured = this.others.filter((member) => member.camera !== "on" && !pictured.has(member.participant));
    const start = Math.max(0, first - cameras.length);
    const plain = [...awaited, ...unpictured.slice(start)].slice(0, Math.max(0, count - pictures.length));
    return { pictures, plain };
  }
}
