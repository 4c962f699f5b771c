/**
 * One conference as this page takes part in it: joins the control channel,
 * the media channel and the own sources into one thing, without drawing
 * anything. The view listens.
 */

import { Connection } from "../protocol/connection.js";
import { Diagnosis, since } from "../protocol/diagnosis.js";
import { lineNumbers } from "../protocol/report.js";
import { Peer } from "../protocol/peer.js";
import { SOURCES } from "../devices/sources.js";
import { RoomState } from "../protocol/state.js";
import { Turnover } from "../protocol/turnover.js";

/** @typedef {import("../shared/types.js").BridgeMessage} BridgeMessage */
/** @typedef {import("../shared/types.js").Source} Source */
/** @typedef {import("../devices/sources.js").Sources} Sources */
/** @typedef {import("../protocol/connection.js").ConnectionState} ConnectionState */
/** @typedef {import("../protocol/connection.js").Ending} Ending */
/** @typedef {import("../protocol/connection.js").ConnectionOptions["refreshToken"]} Refresh */
/** @typedef {import("./session.js").Return} Return */
/** @typedef {{heights: Record<string, number>, thumbnails: {first: number, count: number}}} View */

/**
 * @typedef {object} ConferenceObserver
 * @property {(state: ConnectionState, ending: Ending | null) => void} connectionChanged
 * @property {(message: BridgeMessage) => void} before  a message is about to change the state
 * @property {() => void} changed  something to draw has changed
 * @property {() => void} slotsAdded  the peer connection has new slots (or is a new one)
 * @property {(source: Source) => void} sourceEnded
 * @property {() => void} cameraStalled  it is on and gives no pictures any more
 * @property {(source: Source) => void} sourceInterrupted  the system took the device, or gave it back
 */

/**
 * @typedef {object} ConferenceOptions
 * @property {string} url  of the WebSocket
 * @property {string} token
 * @property {number} tokenAgeMs
 * @property {string} name
 * @property {string} language
 * @property {string} page  the word of this tab
 * @property {RTCIceServer[]} iceServers
 * @property {Sources} sources
 * @property {Refresh} refreshToken
 * @property {boolean} tellsFrames  the page says which frame is on the screen (`frameShown`)
 * @property {Return | null} back  this page was in the room before, and goes on as it was
 */

export const MEASURE_INTERVAL_MS = 2000;
/** Pause before another peer connection is tried, doubled each time up to the limit. */
const REPLACE_DELAY_MS = 500;
const REPLACE_DELAY_MAX_MS = 8000;
/** So many failed peer connections are worth a word. */
const FAILING_REPLACEMENTS = 2;
/** New relay credentials follow a welcome at once; nothing waits longer for them. */
const ICE_SERVERS_LIMIT_MS = 1000;
/** A clock that jumps by this much more than the interval: the machine has slept. */
const SLEEP_MS = 5000;
/** How long a device that the system took may take to come back, once the page is looked at again. */
const REVIVE_DELAY_MS = 3000;

/** How often the bridge is told how the media fares, when nothing has changed. */
const CONDITION_INTERVAL_MS = 10_000;
/** The protocol's bounds. */
const SPELL_MAX_MS = 600_000;
const FREEZES_MAX = 1000;

/** Whether this machine is connected by radio, where the browser tells (Network Information API). */
function isWireless() {
  const { connection } = /** @type {{connection?: {type?: string}}} */ (navigator);
  return connection?.type === "wifi";
}

export class Conference {
  /** @type {ConferenceObserver} */ #observer;
  /** @type {View | null} */ #view = null;
  #sentView = "";
  #isHandRaised = false;
  /** @type {ReturnType<typeof setInterval> | undefined} */ #measuring;
  /** @type {() => void} */ #online;
  /** @type {() => void} */ #visible;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #reviving;
  #iceServers;
  /** @type {() => void} new relay credentials are there */ #iceServersTaken = () => undefined;
  #replacements = 0;
  /** Which peer connection is being made. */ #round = 0;
  #awakeAt = Date.now();
  /** @type {Set<Source>} what the bridge was told to be on */ #told = new Set();
  /** @type {Set<Source>} what the bridge was told to be interrupted */ #toldInterrupted = new Set();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #replacing;
  #turnover = new Turnover();
  #diagnosis = new Diagnosis();
  /** @type {import("../protocol/diagnosis.js").Counts | null} what the bridge was told of */ #countedTold = null;
  #conditionAt = 0;
  #tellsFrames;

  /**
   * @param {ConferenceOptions} options
   * @param {ConferenceObserver} observer
   */
  constructor(options, observer) {
    this.#observer = observer;
    this.#iceServers = options.iceServers;
    this.#tellsFrames = options.tellsFrames;
    this.state = new RoomState();
    /** @type {Peer | null} */
    this.peer = null;
    this.sources = options.sources;
    this.sources.observer = {
      changed: () => observer.changed(),
      muteChanged: (source, isMuted) => this.#tellMute(source, isMuted),
      ended: (source) => observer.sourceEnded(source),
      interrupted: (source) => {
        this.#tellInterrupted(source);
        observer.sourceInterrupted(source);
      },
    };
    const { back } = options;
    if (back?.isMicrophoneOn) this.#told.add("microphone");
    if (back?.isCameraOn) this.#told.add("camera");
    this.connection = new Connection(
      { ...options, resume: back?.resume ?? null, agent: navigator.userAgent.slice(0, 200) },
      {
        stateChanged: (state, ending) => {
          if (state === "closed") this.#closeMedia();
          observer.connectionChanged(state, ending);
        },
        received: (message) => this.#received(message),
      },
    );
    this.#visible = () => {
      clearTimeout(this.#reviving);
      // Most of what the system takes it gives back by itself.
      if (!document.hidden) this.#reviving = setTimeout(() => this.sources.revive(), REVIVE_DELAY_MS);
    };
    this.#online = () => {
      this.connection.retryNow();
      if (this.peer && !this.peer.isConnected) this.peer.restartIce();
    };
  }

  open() {
    window.addEventListener("online", this.#online);
    document.addEventListener("visibilitychange", this.#visible);
    this.#measuring = setInterval(() => void this.#measure(), MEASURE_INTERVAL_MS);
    this.connection.open();
  }

  leave() {
    this.connection.leave();
  }

  /** What this tab needs to come back as it is. @param {string} name @returns {Return} */
  keep(name) {
    const { sources } = this;
    return {
      name,
      resume: this.connection.resume,
      isMicrophoneOn: sources.isWished("microphone"),
      isCameraOn: sources.isWished("camera"),
      atMs: Date.now(),
    };
  }

  get isHandRaised() {
    return this.#isHandRaised;
  }

  /** Whether one peer connection after the other has failed. */
  get isMediaFailing() {
    return this.#replacements >= FAILING_REPLACEMENTS;
  }

  /** @param {boolean} raised */
  raiseHand(raised) {
    this.#isHandRaised = raised;
    this.connection.send({ type: "hand", raised });
    this.#observer.changed();
  }

  /**
   * What the page shows now; sent when it differs from what was sent.
   * @param {View} view
   */
  show(view) {
    this.#view = view;
    const text = JSON.stringify(view);
    if (text === this.#sentView) return;
    if (this.connection.send({ type: "view", ...view })) this.#sentView = text;
  }

  /**
   * @param {Source} source
   * @param {boolean} isMuted
   */
  #tellMute(source, isMuted) {
    if (!this.connection.send({ type: "mute", source, muted: isMuted })) return;
    if (isMuted) this.#told.delete(source);
    else this.#told.add(source);
    this.#tellInterrupted(source);
  }

  /** @param {Source} source */
  #tellInterrupted(source) {
    const interrupted = this.sources.isInterrupted(source);
    if (interrupted === this.#toldInterrupted.has(source) || (source !== "microphone" && source !== "camera")) return;
    if (!this.connection.send({ type: "interrupted", source, interrupted })) return;
    if (interrupted) this.#toldInterrupted.add(source);
    else this.#toldInterrupted.delete(source);
  }

  /** @param {BridgeMessage} message */
  #received(message) {
    this.#observer.before(message);
    // A name waits for its picture, where the page can tell whose picture it shows.
    const isHeld = message.type === "slots" && this.#tellsFrames;
    this.state.apply(isHeld ? this.#turnover.hear(message, this.state.slots, performance.now()) : message);
    switch (message.type) {
      case "welcome":
        this.#heedMutes(message.muted);
        this.#welcomed(message.resumed);
        break;
      case "answer":
        void this.peer?.answered(message.id, message.sdp);
        break;
      case "token":
        this.takeIceServers(message.ice_servers);
        break;
      case "layers":
        this.peer?.applyLayers(message.layers);
        break;
      case "muted":
        this.#told.delete(message.source);
        this.sources.stop(message.source);
        break;
      case "floor":
        if (!message.granted) this.#stopPublishing();
        break;
      case "roster": {
        const me = this.state.me;
        if (me) this.#isHandRaised = me.hand !== null;
        break;
      }
      case "error":
        if (message.for === "offer") void this.peer?.refused(message.id, message.code);
        break;
      default:
        break;
    }
    this.#observer.changed();
  }

  /** Whether every frame of a slot is to be told. @param {string} mid */
  isFrameAwaited(mid) {
    return this.#turnover.isAwaited(mid);
  }

  /**
   * A frame of a slot is on the screen.
   * @param {string} mid
   * @param {VideoFrameCallbackMetadata} frame
   * @param {number} nowMs
   */
  frameShown(mid, frame, nowMs) {
    const said = this.#turnover.frame(mid, frame, nowMs);
    if (said) this.#say([said]);
  }

  /** No name waits for ever. @param {number} nowMs */
  nameWhoIsDue(nowMs) {
    this.#say(this.#turnover.due(nowMs));
  }

  /** @param {import("../shared/types.js").SlotsMessage[]} said */
  #say(said) {
    for (const message of said) this.state.apply(message);
    if (said.length > 0) this.#observer.changed();
  }

  /**
   * What a moderator muted while the socket was away stays off. What had been
   * off already when it broke, and was switched on since, is its owner's wish.
   * @param {{source: Source}[]} muted
   */
  #heedMutes(muted) {
    for (const { source } of muted) {
      if (this.#told.delete(source)) this.sources.stop(source);
    }
  }

  /** @param {boolean} isResumed */
  #welcomed(isResumed) {
    this.#sentView = "";
    if (!this.state.mayPublish) this.#stopPublishing();
    if (isResumed) this.#isHandRaised = (this.state.me?.hand ?? null) !== null;
    if (isResumed && this.peer) {
      this.peer.resumed();
    } else {
      void this.#replacePeer(true);
      if (!isResumed && this.#isHandRaised) this.connection.send({ type: "hand", raised: true });
    }
    // A new participant is interrupted in nothing as far as the bridge knows.
    if (!isResumed) this.#toldInterrupted.clear();
    this.sources.announce();
    if (this.#view) this.show(this.#view);
  }

  /** @param {boolean} isWelcomed  just now: the credentials of relays are about to come */
  async #replacePeer(isWelcomed) {
    clearTimeout(this.#replacing);
    this.peer?.close();
    this.state.forgetSlots();
    this.#turnover.forget();
    const round = ++this.#round;
    if (isWelcomed && this.#iceServers.length > 0) {
      await new Promise((resolve) => {
        this.#iceServersTaken = () => resolve(null);
        setTimeout(resolve, ICE_SERVERS_LIMIT_MS);
      });
    }
    // Left meanwhile, or welcomed once more.
    if (round !== this.#round) return;
    const peer = new Peer(
      {
        offer: (offer) => this.connection.send({ type: "offer", ...offer }),
        slotsAdded: () => this.#observer.slotsAdded(),
        connectedChanged: (isConnected) => {
          if (isConnected) this.#replacements = 0;
          this.#observer.changed();
        },
        lost: () => {
          if (this.peer === peer) this.#replaceLater();
        },
        iceServers: () => this.#iceServers,
      },
      { iceServers: this.#iceServers },
    );
    this.peer = peer;
    this.sources.attach(peer);
    this.#toldInterrupted.clear();
    for (const source of SOURCES) this.#tellInterrupted(source);
    void peer.negotiate();
  }

  /** @param {RTCIceServer[]} iceServers  just handed out, good for the next connection or restart */
  takeIceServers(iceServers) {
    this.#iceServers = iceServers;
    this.#iceServersTaken();
  }

  #replaceLater() {
    const delay = Math.min(REPLACE_DELAY_MS * 2 ** this.#replacements, REPLACE_DELAY_MAX_MS);
    this.#replacements += 1;
    clearTimeout(this.#replacing);
    // While the control channel is down, the next welcome replaces what is lost.
    this.#replacing = setTimeout(() => {
      if (this.connection.state === "joined") void this.#replacePeer(false);
    }, delay);
  }

  /** Without the right to be seen no light stays on, nor one that would come on later. */
  #stopPublishing() {
    for (const source of SOURCES) this.sources.release(source);
  }

  async #measure() {
    const now = Date.now();
    const isAwoken = now - this.#awakeAt > MEASURE_INTERVAL_MS + SLEEP_MS;
    this.#awakeAt = now;
    // In a page in the background the timers come late as well, but never by so much.
    if (isAwoken) this.connection.woke();
    const { peer } = this;
    const wasStalled = peer?.isCameraStalled;
    if (!(await peer?.measure())) return;
    if (peer?.isCameraStalled && !wasStalled) this.#observer.cameraStalled();
    if (peer) this.#diagnose(peer, now);
    this.#observer.changed();
  }

  /** What is weak here, if anything is. */
  get weakness() {
    return this.#diagnosis.weakness;
  }

  /** Find out what is weak, and tell the bridge: moderators see it. @param {Peer} peer @param {number} nowMs */
  #diagnose(peer, nowMs) {
    const { state } = this;
    const { lossUp, lossDown, protocol } = lineNumbers(peer.report, state.quality);
    const isNews = this.#diagnosis.take({
      lossUp,
      lossDown,
      isHeldBack: state.isHeldBack,
      isSendingHeldBack: peer.isSendingHeldBack,
      isRelayed: protocol === "tcp" || Boolean(peer.report?.isRelayed),
      isOverloaded: peer.isOverloaded,
      isWireless: isWireless(),
    });
    if ((!isNews && nowMs - this.#conditionAt < CONDITION_INTERVAL_MS) || !peer.counted) return;
    const grown = since(peer.counted, this.#countedTold);
    /** @param {number} ms */
    const spell = (ms) => Math.min(Math.round(Math.max(0, ms)), SPELL_MAX_MS);
    const isTold = this.connection.send({
      type: "condition",
      weakness: this.#diagnosis.weakness,
      freezes: Math.min(grown.freezes, FREEZES_MAX),
      frozen_ms: spell(grown.frozenMs),
      heard_ms: spell(grown.heardMs),
      concealed_ms: spell(grown.concealedMs),
    });
    if (!isTold) return;
    this.#conditionAt = nowMs;
    this.#countedTold = peer.counted;
  }

  #closeMedia() {
    this.#round += 1;
    clearInterval(this.#measuring);
    clearTimeout(this.#replacing);
    window.removeEventListener("online", this.#online);
    document.removeEventListener("visibilitychange", this.#visible);
    clearTimeout(this.#reviving);
    this.peer?.close();
    this.sources.close();
  }
}
