/** The first exchange of the invitation: as often as it takes, and no oftener than the server bears. */

import { reconnectDelay } from "../protocol/connection.js";
import { InvitationFailed } from "../shared/invitation.js";

/** @typedef {import("../shared/types.js").Admission} Admission */
/** @typedef {import("../shared/types.js").ProtocolError} ProtocolError */

/**
 * Wait, or until the network is back, or until nobody waits any more.
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
export function pause(ms, signal) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      globalThis.removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    globalThis.addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}

/**
 * @param {string} invitation
 * @param {object} means
 * @param {(invitation: string, signal: AbortSignal) => Promise<Admission>} means.exchange
 * @param {(problem: ProtocolError | null) => void} means.waiting  it cannot be had now, and is asked for again; null: unreachable
 * @param {AbortSignal} means.signal
 * @param {(ms: number, signal: AbortSignal) => Promise<void>} [means.wait]
 * @param {() => number} [means.random]
 * @returns {Promise<Admission | null>} null: aborted. Fails with InvitationFailed when the server will not take it
 */
export async function arrive(invitation, { exchange, waiting, signal, wait = pause, random = Math.random }) {
  for (let attempt = 0; !signal.aborted; attempt++) {
    try {
      const admission = await exchange(invitation, signal);
      return signal.aborted ? null : admission;
    } catch (error) {
      if (!(error instanceof InvitationFailed)) throw error;
      if (signal.aborted) break;
      if (error.retryAfterMs === null) throw error;
      waiting(error.problem);
      await wait(error.retryAfterMs + reconnectDelay(attempt, random()), signal);
    }
  }
  return null;
}
