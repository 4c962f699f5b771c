/**
 * The media channel: one RTCPeerConnection whose m-lines are laid out once
 * and never change their meaning. Four send lines (filled by replaceTrack),
 * then the slots the bridge fills: voices, stage, content, thumbnails.
 * The page always offers; the bridge always answers.
 */

import { Frames, framesDecoded } from "./frames.js";
import { activeRids, cameraPlan, contentPlan } from "./layers.js";
import { counts, isOverloaded, limitedBy, since } from "./diagnosis.js";
import { reportTransport } from "./report.js";
import { isSentReduced, pictureOf } from "./sharpness.js";

/** @typedef {import("../shared/types.js").Source} Source */
/** @typedef {import("../shared/types.js").SlotRole} SlotRole */
/** @typedef {import("./layers.js").EncodingPlan} EncodingPlan */
/** @typedef {import("./report.js").TransportReport} TransportReport */
/** @typedef {{id: number, sdp: string, publications: Record<string, Source>, slots: Record<string, SlotRole>, replace: boolean}} Offer */
/** @typedef {{role: SlotRole, mid: string | null, track: MediaStreamTrack, transceiver: RTCRtpTransceiver}} Slot */

/**
 * @typedef {object} PeerObserver
 * @property {(offer: Offer) => boolean} offer  hand the offer to the bridge; false when the channel is down
 * @property {() => void} slotsAdded  new slots exist and have their mids
 * @property {(isConnected: boolean) => void} connectedChanged
 * @property {() => void} lost  ICE restarts did not help, the browser takes no answer, or the bridge has forgotten this connection: a new one is needed
 * @property {() => RTCIceServer[]} iceServers  those that are good now
 */

const VOICES = 3;
const FIRST_THUMBNAILS = 9;

/** An ICE check that has been failing for this long is not a hiccup of the radio. */
const DISCONNECTED_LIMIT_MS = 2000;
/** A restarted ICE that is not connected by then is restarted again. */
const RESTART_LIMIT_MS = 6000;
const RESTARTS_MAX = 4;
/** An offer that has not been answered by then was lost, or dropped unread. */
const ANSWER_LIMIT_MS = 10_000;
/** A refused offer is made again, first after this long, then ever more slowly. */
const REFUSED_DELAY_MS = 2000;
/** After so many offers in vain the connection is given up. */
const OFFERS_MAX = 4;
/** For this long a source that was switched on is sent although nobody asked for it yet. */
const FRESH_MS = 5000;

/** The bridge's code for a leg whose DTLS association it no longer has. */
const MEDIA_LOST = "negotiation-failed:media-lost";

/** What is offered on audio lines: Opus, alone and with what was said just before (RFC 2198). */
const AUDIO_CODECS = new Set(["audio/opus", "audio/red"]);

/** What is offered on video lines: the bridge forwards nothing else, and 49 slots must stay below its offer limit. */
const VIDEO_CODECS = new Set(["video/VP8", "video/H264", "video/rtx"]);
const H264_PROFILES = ["42e01f", "42001f"];

/** @type {Source[]} */
const SOURCES = ["microphone", "camera", "content", "auxiliary"];

/**
 * @param {RTCRtpCodec} codec
 */
function isForwarded(codec) {
  if (!VIDEO_CODECS.has(codec.mimeType)) return false;
  if (codec.mimeType !== "video/H264") return true;
  const parameters = codec.sdpFmtpLine ?? "";
  return parameters.includes("packetization-mode=1") && H264_PROFILES.some((profile) => parameters.includes(profile));
}

/**
 * @param {RTCRtpTransceiver} transceiver
 * @param {"audio" | "video"} kind
 */
function preferCodecs(transceiver, kind) {
  const capabilities = RTCRtpReceiver.getCapabilities(kind);
  if (!capabilities || !transceiver.setCodecPreferences) return;
  const codecs = capabilities.codecs.filter((codec) =>
    kind === "audio" ? AUDIO_CODECS.has(codec.mimeType) : isForwarded(codec),
  );
  if (codecs.length > 0) transceiver.setCodecPreferences(codecs);
}

/** @param {EncodingPlan[]} plan @returns {RTCRtpEncodingParameters[]} */
function sendEncodings(plan) {
  return plan.map(({ rid, scaleResolutionDownBy, maxBitrate, maxFramerate }) => ({
    rid,
    active: true,
    scaleResolutionDownBy,
    maxBitrate,
    ...(maxFramerate ? { maxFramerate } : {}),
  }));
}

export class Peer {
  /** @type {PeerObserver} */ #observer;
  /** @type {Map<Source, RTCRtpTransceiver>} */ #senders = new Map();
  /** @type {Map<Source, MediaStreamTrack | null>} what is to be sent */ #tracks = new Map();
  /** @type {Map<Source, EncodingPlan[]>} */ #plans = new Map();
  /** @type {Map<Source, string[]>} */ #wanted = new Map();
  /** @type {Map<Source, ReturnType<typeof setTimeout>>} sources switched on just now */ #fresh = new Map();
  /** @type {Map<Source, Promise<void>>} */ #tuning = new Map();
  /** @type {Slot[]} */ slots = [];
  #offerId = 0;
  #isNegotiating = false;
  #isOfferNeeded = false;
  #isIceRestart = false;
  #restarts = 0;
  /** Offers that were refused or not answered since the last answer. */ #failures = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} until the answer, or until the next offer */ #waiting;
  /** @type {ReturnType<typeof setTimeout> | null} */ #watch = null;
  #isClosed = false;
  #isConnected = false;
  #negotiations = 0;
  /** @type {TransportReport | null} */ report = null;
  #frames = new Frames();
  /** @type {import("./diagnosis.js").Counts | null} since this connection began */ counted = null;
  /** The machine is too slow to encode or to decode. */ isOverloaded = false;
  /** The browser sends less than it would, as the line does not bear it. */ isSendingHeldBack = false;
  /** @type {Map<string, number>} by mid: the frames decoded when it was last measured */ decoded = new Map();
  /** The camera is on and gives no pictures. */ isCameraStalled = false;
  /** @type {import("./sharpness.js").Picture | null} the shared content, as it comes */ received = null;
  /** @type {import("./sharpness.js").Picture | null} and as it goes */ sent = null;

  /**
   * @param {PeerObserver} observer
   * @param {RTCConfiguration} [configuration]
   */
  constructor(observer, configuration = {}) {
    this.#observer = observer;
    this.pc = new RTCPeerConnection({ bundlePolicy: "max-bundle", rtcpMuxPolicy: "require", ...configuration });
    this.pc.oniceconnectionstatechange = () => this.#iceChanged();
    this.pc.onconnectionstatechange = () => this.#iceChanged();
    this.#layLines();
  }

  get isConnected() {
    return this.#isConnected;
  }

  /** How many offers have been answered: stays at 1 while people come and go. */
  get negotiations() {
    return this.#negotiations;
  }

  #layLines() {
    for (const source of SOURCES) {
      const plan =
        source === "camera" || source === "auxiliary"
          ? cameraPlan(1280, 720)
          : source === "content"
            ? contentPlan(1920, 1080)
            : null;
      const kind = plan ? "video" : "audio";
      const transceiver = this.pc.addTransceiver(kind, {
        direction: "sendonly",
        ...(plan ? { sendEncodings: sendEncodings(plan) } : {}),
      });
      preferCodecs(transceiver, kind);
      this.#senders.set(source, transceiver);
      if (plan) this.#plans.set(source, plan);
    }
    for (let index = 0; index < VOICES; index++) this.#addSlot("voice");
    this.#addSlot("stage");
    this.#addSlot("content");
    for (let index = 0; index < FIRST_THUMBNAILS; index++) this.#addSlot("thumbnail");
  }

  /** @param {SlotRole} role */
  #addSlot(role) {
    const kind = role === "voice" ? "audio" : "video";
    const transceiver = this.pc.addTransceiver(kind, { direction: "recvonly" });
    preferCodecs(transceiver, kind);
    this.slots.push({ role, mid: null, track: transceiver.receiver.track, transceiver });
  }

  /**
   * The slots of one role that have a mid, in m-line order.
   * @param {SlotRole} role
   * @returns {(Slot & {mid: string})[]}
   */
  slotsOf(role) {
    return /** @type {(Slot & {mid: string})[]} */ (
      this.slots.filter((slot) => slot.role === role && slot.mid !== null)
    );
  }

  /**
   * Have at least `count` thumbnail slots; the only reason to offer again.
   * @param {number} count
   */
  ensureThumbnails(count) {
    const have = this.slots.filter((slot) => slot.role === "thumbnail").length;
    for (let index = have; index < count; index++) this.#addSlot("thumbnail");
    if (count > have) void this.negotiate();
  }

  async negotiate() {
    this.#isOfferNeeded = true;
    if (this.#isNegotiating || this.#isClosed) return;
    this.#isNegotiating = true;
    this.#isOfferNeeded = false;
    clearTimeout(this.#waiting);
    try {
      await this.#makeOffer();
    } catch (error) {
      this.#failed(error);
    }
  }

  async #makeOffer() {
    if (this.#isIceRestart) {
      // Credentials of a relay are good for some hours only.
      this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers: this.#observer.iceServers() });
    }
    const offer = await this.pc.createOffer({ iceRestart: this.#isIceRestart });
    if (this.#isClosed) return;
    await this.pc.setLocalDescription(offer);
    if (this.#isClosed) return;
    this.#readMids();
    this.#sendOffer();
  }

  /** Slots have the mid of the offer that is made, and lose it when that is taken back. */
  #readMids() {
    let hasChanged = false;
    for (const slot of this.slots) {
      if (slot.mid === slot.transceiver.mid) continue;
      slot.mid = slot.transceiver.mid;
      hasChanged = true;
    }
    if (hasChanged) this.#observer.slotsAdded();
  }

  /** The browser does not do what it is asked to: only a new connection can help. @param {unknown} error */
  #failed(error) {
    if (this.#isClosed) return;
    console.warn("negotiation failed:", error);
    this.#observer.lost();
  }

  #sendOffer() {
    const sdp = this.pc.localDescription?.sdp;
    if (!sdp) return;
    /** @type {Record<string, Source>} */
    const publications = {};
    for (const [source, { mid }] of this.#senders) if (mid !== null) publications[mid] = source;
    /** @type {Record<string, SlotRole>} */
    const slots = {};
    for (const { mid, role } of this.slots) if (mid !== null) slots[mid] = role;
    this.#offerId += 1;
    // The first offer says that it is a new peer connection, whatever the bridge still has of an old one.
    const isSent = this.#observer.offer({ id: this.#offerId, sdp, publications, slots, replace: this.#negotiations === 0 });
    clearTimeout(this.#waiting);
    // What could not be sent is sent when the channel is back.
    if (isSent) this.#waiting = setTimeout(() => this.#unanswered(), ANSWER_LIMIT_MS);
  }

  #unanswered() {
    if (this.#isClosed || this.pc.signalingState !== "have-local-offer") return;
    this.#failures += 1;
    if (this.#failures >= OFFERS_MAX) this.#observer.lost();
    else this.#sendOffer();
  }

  /**
   * @param {number} id
   * @param {string} sdp
   */
  async answered(id, sdp) {
    if (id !== this.#offerId || this.pc.signalingState !== "have-local-offer") return;
    clearTimeout(this.#waiting);
    try {
      await this.pc.setRemoteDescription({ type: "answer", sdp });
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#isNegotiating = false;
    this.#isIceRestart = false;
    this.#negotiations += 1;
    this.#failures = 0;
    for (const source of SOURCES) void this.#tune(source);
    if (this.#isOfferNeeded) await this.negotiate();
  }

  /**
   * The bridge refused an offer: it is taken back, and made again later. Or, of no offer, it has given up the media.
   * @param {number | null | undefined} id
   * @param {string} code
   */
  async refused(id, code) {
    if (id == null && code === MEDIA_LOST) {
      // Before its first answer the bridge speaks of the one before. Chromium would find out some nine seconds later.
      if (this.#negotiations > 0 && !this.#isClosed) this.#observer.lost();
      return;
    }
    if (id !== this.#offerId || this.pc.signalingState !== "have-local-offer") return;
    clearTimeout(this.#waiting);
    this.#failures += 1;
    if (code === MEDIA_LOST || this.#negotiations === 0 || this.#failures >= OFFERS_MAX) {
      this.#observer.lost();
      return;
    }
    try {
      await this.pc.setLocalDescription({ type: "rollback" });
    } catch (error) {
      this.#failed(error);
      return;
    }
    this.#isNegotiating = false;
    if (this.#isClosed) return;
    this.#readMids();
    this.#waiting = setTimeout(() => void this.negotiate(), REFUSED_DELAY_MS * 2 ** (this.#failures - 1));
  }

  /** The control channel is back with the same session: finish what it interrupted. */
  resumed() {
    if (this.pc.signalingState === "have-local-offer") this.#sendOffer();
    else if (!this.#isConnected) this.restartIce();
  }

  restartIce() {
    if (this.#isClosed) return;
    this.#isIceRestart = true;
    this.pc.restartIce();
    void this.negotiate();
  }

  #iceChanged() {
    if (this.#isClosed) return;
    const ice = this.pc.iceConnectionState;
    const isConnected = (ice === "connected" || ice === "completed") && this.pc.connectionState !== "failed";
    if (isConnected) {
      this.#restarts = 0;
      this.#clearWatch();
    } else if (ice === "failed" || this.pc.connectionState === "failed") {
      this.#restartSoon(0);
    } else if (ice === "disconnected" && this.#watch === null) {
      this.#restartSoon(DISCONNECTED_LIMIT_MS);
    }
    if (isConnected !== this.#isConnected) {
      this.#isConnected = isConnected;
      this.#observer.connectedChanged(isConnected);
    }
  }

  /** @param {number} delayMs */
  #restartSoon(delayMs) {
    this.#clearWatch();
    this.#watch = setTimeout(() => {
      this.#watch = null;
      if (this.#isClosed || this.#isConnected) return;
      if (this.#restarts >= RESTARTS_MAX) {
        this.#observer.lost();
        return;
      }
      this.#restarts += 1;
      this.restartIce();
      this.#restartSoon(RESTART_LIMIT_MS);
    }, delayMs);
  }

  #clearWatch() {
    if (this.#watch !== null) clearTimeout(this.#watch);
    this.#watch = null;
  }

  /**
   * Send this track, or nothing.
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   */
  async setTrack(source, track) {
    const sender = this.#senders.get(source)?.sender;
    if (!sender || this.#isClosed) return;
    this.#tracks.set(source, track);
    if (track && track.kind === "video") {
      const { width, height } = track.getSettings();
      if (width && height) {
        this.#plans.set(source, source === "content" ? contentPlan(width, height) : cameraPlan(width, height));
      }
      this.#refresh(source);
      // Scale first: otherwise the first second goes out at the sizes of the track before.
      await this.#tune(source);
    }
    // Switched off or changed meanwhile: what was decided last is what is sent.
    if (this.#tracks.get(source) !== track || this.#isClosed) return;
    try {
      await sender.replaceTrack(track);
    } catch (error) {
      // Closed in between; the next connection is given the track anew.
      if (!(error instanceof DOMException)) throw error;
    }
  }

  /** @param {Source} source */
  #refresh(source) {
    clearTimeout(this.#fresh.get(source));
    const timer = setTimeout(() => {
      if (this.#isClosed) return;
      // What is sent into a broken connection shows the bridge nothing.
      if (!this.#isConnected) this.#refresh(source);
      else {
        this.#fresh.delete(source);
        void this.#tune(source);
      }
    }, FRESH_MS);
    this.#fresh.set(source, timer);
  }

  /**
   * The bridge says which encodings somebody watches.
   * @param {Record<string, string[]>} layers  by mid
   */
  applyLayers(layers) {
    for (const [source, { mid }] of this.#senders) {
      const wanted = mid === null ? undefined : layers[mid];
      if (!wanted) continue;
      this.#wanted.set(source, wanted);
      void this.#tune(source);
    }
  }

  /**
   * Bring a sender's parameters to the plan and the bridge's wish.
   * @param {Source} source
   * @returns {Promise<void>}
   */
  #tune(source) {
    // One setParameters at a time per sender: its transaction id is spent by the next one.
    const previous = this.#tuning.get(source) ?? Promise.resolve();
    const next = previous.then(() => this.#setParameters(source));
    this.#tuning.set(source, next);
    return next;
  }

  /** @param {Source} source */
  async #setParameters(source) {
    const plan = this.#plans.get(source);
    const sender = this.#senders.get(source)?.sender;
    if (!plan || !sender || this.#isClosed) return;
    const parameters = sender.getParameters();
    if (!parameters.encodings?.length) return;
    const active = activeRids(plan, this.#wanted.get(source) ?? null, this.#fresh.has(source));
    for (const encoding of parameters.encodings) {
      const planned = plan.find(({ rid }) => rid === encoding.rid);
      if (!planned) continue;
      encoding.active = active.has(planned.rid);
      encoding.scaleResolutionDownBy = planned.scaleResolutionDownBy;
      encoding.maxBitrate = planned.maxBitrate;
      if (planned.maxFramerate) encoding.maxFramerate = planned.maxFramerate;
    }
    if (source === "content") parameters.degradationPreference = "maintain-resolution";
    try {
      await sender.setParameters(parameters);
    } catch (error) {
      // The connection was renegotiated or closed in between; the next call brings it right.
      if (!(error instanceof DOMException)) throw error;
    }
  }

  /** Measure the transport; kept in `report`. @returns {Promise<TransportReport | null>} */
  async measure() {
    if (this.#isClosed) return null;
    const stats = await this.pc.getStats();
    this.report = reportTransport(stats, this.report);
    this.decoded = framesDecoded(stats);
    const counted = counts(stats);
    this.isOverloaded = isOverloaded(stats, since(counted, this.counted));
    this.isSendingHeldBack = limitedBy(stats, "bandwidth");
    this.counted = counted;
    this.isCameraStalled = this.#frames.isStalled(stats, this.#tracks.get("camera"), performance.now());
    this.received = pictureOf(stats, "inbound-rtp", this.slotsOf("content")[0]?.mid, this.received);
    const mid = this.#tracks.get("content") ? this.#senders.get("content")?.mid : null;
    this.sent = mid ? pictureOf(stats, "outbound-rtp", mid, this.sent) : null;
    return this.report;
  }

  /** Whether the screen that is shared goes out with less than it has. */
  get isSentReduced() {
    return isSentReduced(this.sent, this.#tracks.get("content")?.getSettings().height);
  }

  close() {
    this.#isClosed = true;
    this.#clearWatch();
    clearTimeout(this.#waiting);
    for (const timer of this.#fresh.values()) clearTimeout(timer);
    this.pc.oniceconnectionstatechange = this.pc.onconnectionstatechange = null;
    this.pc.close();
  }
}
