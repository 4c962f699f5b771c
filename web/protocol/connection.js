/**
 * The control channel: one WebSocket to the bridge that joins, comes back by
 * itself after a drop, and never touches the page (no DOM in here).
 *
 *   idle -> connecting -> joined -> reconnecting -> joined ... -> closed
 *                      -> waiting (the room is locked) -> joined
 *
 * A drop leads to `reconnecting`: the join is repeated with the resume secret,
 * so a bridge that still knows us (30 s) answers `resumed: true` and the media
 * goes on untouched; a restarted bridge answers `resumed: false` and the owner
 * makes a new peer connection. Only `leave`, a removal, a meant end of the
 * socket or a refusal that neither time nor a fresh token can cure (see
 * verdict.js) ends in `closed`.
 */

import { verdict } from "./verdict.js";

/** @typedef {import("../shared/types.js").BridgeMessage} BridgeMessage */
/** @typedef {import("../shared/types.js").ProtocolError} ProtocolError */
/** @typedef {"idle" | "connecting" | "waiting" | "joined" | "reconnecting" | "closed"} ConnectionState */
/**
 * left: by the own wish; moved: another page goes on with this session; over: the room has closed.
 * @typedef {{reason: "left" | "moved" | "over" | "removed" | "refused", error: ProtocolError | null}} Ending
 */
/** @typedef {{participant: string, secret: string}} Resume  what a page needs to go on as the same participant */
/**
 * A fresh join token; or the invitation is no longer good, and why; or it
 * could not be asked, and how long the server wants to be left alone.
 * @typedef {{token: string} | {gone: ProtocolError | null} | {laterMs: number}} Refreshed
 */

/**
 * @typedef {object} ConnectionObserver
 * @property {(state: ConnectionState, ending: Ending | null) => void} stateChanged
 * @property {(message: BridgeMessage) => void} received  every message, `welcome` included
 */

/**
 * The part of WebSocket that is used, so that a test can stand in for it.
 * @typedef {object} Socket
 * @property {number} readyState
 * @property {((event: any) => void) | null} onopen
 * @property {((event: any) => void) | null} onclose
 * @property {((event: any) => void) | null} onerror
 * @property {((event: any) => void) | null} onmessage
 * @property {(data: string) => void} send
 * @property {(code?: number, reason?: string) => void} close
 */

/**
 * @typedef {object} ConnectionOptions
 * @property {string} url
 * @property {string} token  a join token
 * @property {string} name
 * @property {string} language
 * @property {string} agent
 * @property {string} page  the word of this tab, by which the bridge knows it again after a crash
 * @property {() => Promise<Refreshed>} refreshToken  from the invitation
 * @property {number} [tokenAgeMs]  how long ago the token was handed out
 * @property {Resume | null} [resume]  of the same tab before it was loaded anew
 * @property {() => number} [now]  milliseconds
 * @property {(url: string) => Socket} [createSocket]
 * @property {{setTimeout: (f: () => void, ms: number) => any, clearTimeout: (id: any) => void}} [timers]
 * @property {() => number} [random]
 */

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "hoichan.v1";

const SHORTEST_DELAY_MS = 100;
const FIRST_DELAY_MS = 2000;
const LONGEST_DELAY_MS = 5000;
/** A connection attempt that has not been welcomed by then is given up and repeated. */
const ATTEMPT_LIMIT_MS = 10_000;
/** So many beats that did not come mean that the wire is dead although nobody closed it. */
const BEATS_MISSED = 3;
/** A machine that has slept: its socket is dead more often than not, and one beat must do. */
const WAKE_GRACE_MS = 500;
/** After the bridge has cut off a page that sent nonsense. */
const QUIET_ATTEMPT = 2;

const OPEN = 1;
const TOO_MANY_REFUSED = 4006;

/** What the end of a socket that is meant says. @type {Record<number, Ending["reason"]>} */
const REASONS = { 1001: "over", 4000: "left", 4001: "moved", 4002: "removed" };

/**
 * How long to wait before attempt number `attempt` (0 = the first repeat). A
 * hundred pages lose the same server at the same moment: each waits any time
 * up to the limit, so that they do not come back in the same second.
 * @param {number} attempt
 * @param {number} random  0..1
 * @returns {number} milliseconds
 */
export function reconnectDelay(attempt, random) {
  const limit = Math.min(FIRST_DELAY_MS * 2 ** attempt, LONGEST_DELAY_MS);
  return Math.round(SHORTEST_DELAY_MS + (limit - SHORTEST_DELAY_MS) * random);
}

/**
 * @param {unknown} data
 * @returns {BridgeMessage | null} null for anything that is not a JSON object with a type
 */
export function parseMessage(data) {
  if (typeof data !== "string") return null;
  try {
    const message = JSON.parse(data);
    return message && typeof message === "object" && typeof message.type === "string" ? message : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

export class Connection {
  /** @type {ConnectionOptions} */ #options;
  /** @type {ConnectionObserver} */ #observer;
  /** @type {Socket | null} */ #socket = null;
  /** @type {ConnectionState} */ #state = "idle";
  #token;
  #tokenAt;
  #isTokenNeeded = false;
  /** @type {Resume | null} */ #resume;
  #attempt = 0;
  /** Which attempt is on: an answer to an earlier one means nothing. */ #round = 0;
  /** Between two words of this bridge at most; 0: it has named no limit. */ #beatMs = 0;
  /** @type {ProtocolError | null} the last one of this socket */ #error = null;
  /** @type {any} */ #retryTimer = null;
  /** @type {any} */ #attemptTimer = null;
  /** @type {any} */ #silenceTimer = null;

  /**
   * @param {ConnectionOptions} options
   * @param {ConnectionObserver} observer
   */
  constructor(options, observer) {
    this.#options = options;
    this.#observer = observer;
    this.#token = options.token;
    this.#tokenAt = this.#now - (options.tokenAgeMs ?? 0);
    this.#resume = options.resume ?? null;
  }

  /** @returns {ConnectionState} */
  get state() {
    return this.#state;
  }

  /** What another page needs to go on as this participant. @returns {Resume | null} */
  get resume() {
    return this.#state === "joined" || this.#state === "reconnecting" ? this.#resume : null;
  }

  get #now() {
    return (this.#options.now ?? (() => performance.now()))();
  }

  get #timers() {
    return this.#options.timers ?? globalThis;
  }

  open() {
    if (this.#state === "idle") this.#connect("connecting");
  }

  /**
   * Send a message; false when the channel is not joined now (what matters is
   * sent again by its owner after the next `welcome`).
   * @param {{type: string, [key: string]: unknown}} message
   * @returns {boolean}
   */
  send(message) {
    if (this.#state !== "joined" || this.#socket?.readyState !== OPEN) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Leave for good. */
  leave() {
    this.send({ type: "leave" });
    this.#end({ reason: "left", error: null });
  }

  /** Go without saying so: another page, or this one loaded anew, goes on as the same participant. */
  handOver() {
    this.#end({ reason: "moved", error: null });
  }

  /** The network came back: do not wait for the back-off to run out, nor in a lobby that may be gone. */
  retryNow() {
    if (this.#state !== "waiting" && this.#state !== "reconnecting") return;
    this.#attempt = 0;
    this.#again();
  }

  /** The machine has slept: find out soon whether the bridge is still there. */
  woke() {
    if (this.#state !== "joined") this.retryNow();
    else if (this.#beatMs > 0) this.#watchSilence(this.#beatMs + WAKE_GRACE_MS);
  }

  /** Close the socket as a broken network would (for support staff and tests). */
  drop() {
    this.#lost();
  }

  /** One more attempt, with a new token where the last one was refused. */
  #again() {
    if (this.#isTokenNeeded) void this.#refresh();
    else this.#connect("reconnecting");
  }

  /** @param {ConnectionState} state */
  #connect(state) {
    this.#begin(state);
    const { url, createSocket } = this.#options;
    /** @type {Socket} */
    const socket = createSocket ? createSocket(url) : new WebSocket(url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#join(socket);
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onclose = (event) => {
      if (socket === this.#socket) this.#closed(event?.code);
    };
    socket.onerror = null;
  }

  /** @param {ConnectionState} state */
  #begin(state) {
    this.#clear("retry");
    this.#dropSocket();
    this.#round += 1;
    this.#beatMs = 0;
    this.#error = null;
    this.#setState(state, null);
    this.#attemptTimer = this.#timers.setTimeout(() => this.#lost(), ATTEMPT_LIMIT_MS);
  }

  async #refresh() {
    this.#begin("reconnecting");
    const round = this.#round;
    const refreshed = await this.#options.refreshToken();
    if (round !== this.#round || this.#state === "closed") return;
    if ("token" in refreshed) {
      this.#isTokenNeeded = false;
      this.#takeToken(refreshed.token);
      this.#connect("reconnecting");
    } else if ("gone" in refreshed) this.#end({ reason: "refused", error: refreshed.gone });
    else this.#lost(refreshed.laterMs);
  }

  /** @param {string} token */
  #takeToken(token) {
    this.#token = token;
    this.#tokenAt = this.#now;
  }

  /** @param {Socket} socket */
  #join(socket) {
    const { name, language, agent, page } = this.#options;
    /** @type {Record<string, unknown>} */
    const join = { type: "join", version: PROTOCOL_VERSION, token: this.#token, name, client: { agent, language, page } };
    if (this.#resume) join.resume = this.#resume;
    socket.send(JSON.stringify(join));
  }

  /**
   * @param {Socket} socket
   * @param {unknown} data
   */
  #received(socket, data) {
    if (socket !== this.#socket) return;
    const message = parseMessage(data);
    if (!message) return;
    switch (message.type) {
      case "welcome":
        this.#clear("attempt");
        this.#attempt = 0;
        this.#beatMs = message.beat_s * 1000;
        this.#resume = { participant: message.participant, secret: message.resume.secret };
        this.#setState("joined", null);
        break;
      case "waiting":
        this.#clear("attempt");
        this.#beatMs = message.beat_s * 1000;
        this.#setState("waiting", null);
        break;
      case "token":
        this.#takeToken(message.token);
        break;
      case "removed":
        this.#observer.received(message);
        this.#end({ reason: "removed", error: null });
        return;
      case "error":
        if (this.#state !== "joined") {
          this.#refused(message);
          return;
        }
        this.#error = message;
        break;
      default:
        break;
    }
    if (this.#beatMs > 0) this.#watchSilence(this.#beatMs * BEATS_MISSED);
    this.#observer.received(message);
  }

  /** @param {ProtocolError} error */
  #refused(error) {
    switch (verdict(error.code, this.#now - this.#tokenAt)) {
      case "refresh":
        this.#isTokenNeeded = true;
        void this.#refresh();
        break;
      case "retry":
        this.#lost();
        break;
      case "end":
        this.#end({ reason: "refused", error });
        break;
    }
  }

  /** @param {number | undefined} code */
  #closed(code = 1006) {
    if (verdict(code, this.#now - this.#tokenAt) === "end") {
      this.#end({ reason: REASONS[code] ?? "refused", error: this.#error });
      return;
    }
    if (code === TOO_MANY_REFUSED) this.#attempt = Math.max(this.#attempt, QUIET_ATTEMPT);
    this.#lost();
  }

  /**
   * The socket is gone or was given up: try again later.
   * @param {number} [atLeastMs]
   */
  #lost(atLeastMs = 0) {
    this.#dropSocket();
    if (this.#state === "closed") return;
    this.#round += 1;
    this.#setState("reconnecting", null);
    const delay = reconnectDelay(this.#attempt++, (this.#options.random ?? Math.random)());
    this.#clear("retry");
    // Those who were all told to wait for the same time do not come back at the same time.
    this.#retryTimer = this.#timers.setTimeout(() => this.#again(), atLeastMs + delay);
  }

  /** @param {number} limitMs */
  #watchSilence(limitMs) {
    this.#clear("silence");
    this.#silenceTimer = this.#timers.setTimeout(() => this.#lost(), limitMs);
  }

  #dropSocket() {
    this.#clear("attempt");
    this.#clear("silence");
    const socket = this.#socket;
    this.#socket = null;
    if (!socket) return;
    socket.onopen = socket.onclose = socket.onmessage = null;
    socket.close();
  }

  /** @param {Ending} ending */
  #end(ending) {
    this.#clear("retry");
    this.#dropSocket();
    this.#setState("closed", ending);
  }

  /** @param {"retry" | "attempt" | "silence"} which */
  #clear(which) {
    if (which === "retry") {
      this.#timers.clearTimeout(this.#retryTimer);
      this.#retryTimer = null;
    } else if (which === "attempt") {
      this.#timers.clearTimeout(this.#attemptTimer);
      this.#attemptTimer = null;
    } else {
      this.#timers.clearTimeout(this.#silenceTimer);
      this.#silenceTimer = null;
    }
  }

  /**
   * @param {ConnectionState} state
   * @param {Ending | null} ending
   */
  #setState(state, ending) {
    if (state === this.#state) return;
    this.#state = state;
    this.#observer.stateChanged(state, ending);
  }
}
