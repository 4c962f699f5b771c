/**
 * Asks again and again what moves. Polling, and no stream of events: it goes
 * through every proxy, costs one short query, and renews itself after sleep,
 * loss of the network and a restart of the server without a word about it.
 */

import { findMoving, LibraryFailed } from "./api.js";

/** @typedef {import("./types.js").PackageSummary} PackageSummary */

const MOVING_MS = 2000;
/** Nothing is being made; but a conference may end, and a recording begin. */
const RESTING_MS = 5000;

export class Follower {
  /**
   * @param {object} hooks
   * @param {(moving: PackageSummary[], ended: string[]) => void} hooks.moved  `ended`: no longer among them
   * @param {() => void} hooks.grew  there are more packages, or fewer, than before
   * @param {(error: unknown) => boolean} hooks.failed
   * @param {(isReachable: boolean) => void} hooks.reached
   */
  constructor(hooks) {
    this.hooks = hooks;
    /** @type {Set<string>} */
    this.moving = new Set();
    /** @type {number | null} */
    this.total = null;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.isRunning = false;
    this.isAsking = false;
    document.addEventListener("visibilitychange", () => this.wake());
  }

  start() {
    this.isRunning = true;
    this.moving.clear();
    this.total = null;
    this.wake();
  }

  stop() {
    this.isRunning = false;
    clearTimeout(this.timer);
  }

  /** Ask at once, as something has been changed or the page is looked at again. */
  wake() {
    clearTimeout(this.timer);
    if (!this.isRunning || document.hidden || this.isAsking) return;
    this.isAsking = true;
    void this.ask().finally(() => {
      this.isAsking = false;
      if (this.isRunning && !document.hidden) this.timer = setTimeout(() => this.wake(), this.moving.size > 0 ? MOVING_MS : RESTING_MS);
    });
  }

  async ask() {
    try {
      const { packages: moving, total } = await findMoving();
      this.hooks.reached(true);
      const now = new Set(moving.map(({ id }) => id));
      const ended = [...this.moving].filter((id) => !now.has(id));
      this.moving = now;
      this.hooks.moved(moving, ended);
      if (this.total !== null && total !== this.total) this.hooks.grew();
      this.total = total;
    } catch (error) {
      if (!(error instanceof LibraryFailed)) throw error;
      this.hooks.reached(error.code !== "unreachable");
      this.hooks.failed(error);
    }
  }
}
