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
 * makes a new peer connection. Only `leave`, a removal, or a refusal that no
 * fresh token can cure ends in `closed`.
 */

/** @typedef {import("../shared/types.js").BridgeMessage} BridgeMessage */
/** @typedef {import("../shared/types.js").ProtocolError} ProtocolError */
/** @typedef {"idle" | "connecting" | "waiting" | "joined" | "reconnecting" | "closed"} ConnectionState */
/** @typedef {{reason: "left" | "removed" | "refused", error: ProtocolError | null}} Ending */

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
 * @property {() => Promise<string | null>} refreshToken  a fresh join token from the invitation; null when it is no longer good
 * @property {(url: string) => Socket} [createSocket]
 * @property {{setTimeout: (f: () => void, ms: number) => any, clearTimeout: (id: any) => void}} [timers]
 * @property {() => number} [random]
 */

export const PROTOCOL_VERSION = 1;
export const SUBPROTOCOL = "hoichan.v1";

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 5000;
/** A connection attempt that has not been welcomed by then is given up and repeated. */
const ATTEMPT_LIMIT_MS = 10_000;
/** The bridge reports `quality` every 2 s; four missed ones mean the wire is dead although nobody closed it. */
const SILENCE_LIMIT_MS = 9000;

const OPEN = 1;

/** Codes after which a new join with a new token may succeed. */
const CURABLE_BY_TOKEN = new Set(["invalid-token", "expired-token"]);
/** Codes that end the attempt for good. */
const FINAL = new Set([
  "refused", "room-full", "room-locked", "link-full", "revoked-link", "invalid-name", "unsupported-version", "not-permitted",
]);

/**
 * How long to wait before attempt number `attempt` (0 = the first repeat).
 * @param {number} attempt
 * @param {number} random  0..1
 * @returns {number} milliseconds
 */
export function reconnectDelay(attempt, random) {
  const delay = Math.min(FIRST_DELAY_MS * 2 ** attempt, LONGEST_DELAY_MS);
  // Thirty pages lose the same server at the same moment: spread them.
  return Math.round(delay * (0.75 + 0.5 * random));
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
  /** @type {{participant: string, secret: string} | null} */ #resume = null;
  #attempt = 0;
  #isTokenFresh = true;
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
  }

  /** @returns {ConnectionState} */
  get state() {
    return this.#state;
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

  /** The network came back: do not wait for the back-off to run out. */
  retryNow() {
    if (this.#state !== "reconnecting" || this.#retryTimer === null) return;
    this.#attempt = 0;
    this.#connect("reconnecting");
  }

  /** Throw the session away and join as a new participant: the media side was lost for good. */
  rejoin() {
    if (this.#state === "closed" || this.#state === "idle") return;
    this.#resume = null;
    this.#dropSocket();
    this.#connect("reconnecting");
  }

  /** Close the socket as a broken network would (for support staff and tests). */
  drop() {
    this.#lost();
  }

  /** @param {ConnectionState} state */
  #connect(state) {
    this.#clear("retry");
    this.#dropSocket();
    this.#setState(state, null);
    const { url, createSocket } = this.#options;
    /** @type {Socket} */
    const socket = createSocket ? createSocket(url) : new WebSocket(url, SUBPROTOCOL);
    this.#socket = socket;
    socket.onopen = () => this.#join(socket);
    socket.onmessage = (event) => this.#received(socket, event.data);
    socket.onclose = () => {
      if (socket === this.#socket) this.#lost();
    };
    socket.onerror = null;
    this.#attemptTimer = this.#timers.setTimeout(() => this.#lost(), ATTEMPT_LIMIT_MS);
  }

  /** @param {Socket} socket */
  #join(socket) {
    const { name, language, agent } = this.#options;
    /** @type {Record<string, unknown>} */
    const join = { type: "join", version: PROTOCOL_VERSION, token: this.#token, name, client: { agent, language } };
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
    this.#watchSilence(message.type === "quality");
    switch (message.type) {
      case "welcome":
        this.#clear("attempt");
        this.#attempt = 0;
        this.#isTokenFresh = false;
        this.#resume = { participant: message.participant, secret: message.resume.secret };
        this.#setState("joined", null);
        break;
      case "waiting":
        this.#clear("attempt");
        this.#setState("waiting", null);
        break;
      case "token":
        this.#token = message.token;
        break;
      case "removed":
        this.#observer.received(message);
        this.#end({ reason: "removed", error: null });
        return;
      case "error":
        if (this.#state !== "joined") {
          void this.#refused(message);
          return;
        }
        break;
      default:
        break;
    }
    this.#observer.received(message);
  }

  /** @param {ProtocolError} error */
  async #refused(error) {
    this.#clear("attempt");
    this.#dropSocket();
    if (CURABLE_BY_TOKEN.has(error.code) && !this.#isTokenFresh) {
      const token = await this.#options.refreshToken();
      if (this.#state === "closed") return;
      if (token) {
        this.#token = token;
        this.#isTokenFresh = true;
        this.#connect("reconnecting");
        return;
      }
    }
    if (FINAL.has(error.code) || CURABLE_BY_TOKEN.has(error.code)) {
      this.#end({ reason: "refused", error });
      return;
    }
    this.#lost();
  }

  /** The socket is gone or was given up: try again later. */
  #lost() {
    this.#dropSocket();
    if (this.#state === "closed") return;
    this.#setState("reconnecting", null);
    // A token that was fresh before a long outage may have expired since.
    this.#isTokenFresh = false;
    const delay = reconnectDelay(this.#attempt++, (this.#options.random ?? Math.random)());
    this.#clear("retry");
    this.#retryTimer = this.#timers.setTimeout(() => this.#connect("reconnecting"), delay);
  }

  /** @param {boolean} isArmed  true on the first sign that this bridge reports regularly */
  #watchSilence(isArmed) {
    if (!isArmed && this.#silenceTimer === null) return;
    this.#clear("silence");
    this.#silenceTimer = this.#timers.setTimeout(() => this.#lost(), SILENCE_LIMIT_MS);
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
