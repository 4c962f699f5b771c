/**
 * The invitation: taken from the link, exchanged for a join token.
 */

import { address } from "./address.js";

/** @typedef {import("./types.js").Admission} Admission */
/** @typedef {import("./types.js").ProtocolError} ProtocolError */

export class InvitationFailed extends Error {
  /**
   * @param {ProtocolError | null} problem  null: the server could not be reached
   * @param {number | null} [retryAfterMs]  the server may take it later, and wants to be left alone for so long; null: it will not
   */
  constructor(problem, retryAfterMs = problem ? null : 0) {
    super(problem?.code ?? "unreachable");
    this.problem = problem;
    this.retryAfterMs = retryAfterMs;
  }
}

/** A server that has not answered by then is asked again. */
const ANSWER_LIMIT_MS = 10_000;

/**
 * The token is in the fragment, which browsers never send to any server.
 * @param {string} link  a whole link or only its fragment
 * @returns {string | null}
 */
export function invitationIn(link) {
  const fragment = link.includes("#") ? link.slice(link.indexOf("#") + 1) : "";
  return new URLSearchParams(fragment).get("i") || null;
}

/**
 * @param {string} invitation
 * @param {AbortSignal} [signal]
 * @returns {Promise<Admission>} fails with InvitationFailed
 */
export async function exchange(invitation, signal) {
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), ANSWER_LIMIT_MS);
  const abort = () => limit.abort();
  signal?.addEventListener("abort", abort, { once: true });
  let response;
  let body;
  try {
    response = await fetch(address("api/join"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ invitation }),
      cache: "no-store",
      signal: limit.signal,
    });
    // What a proxy says for a server that is away need not be JSON.
    body = await response.json().catch((error) => {
      if (error instanceof SyntaxError) return null;
      throw error;
    });
  } catch (error) {
    if (error instanceof TypeError || error instanceof DOMException) throw new InvitationFailed(null);
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", abort);
  }
  if (response.ok && body) return body;
  const { status, headers } = response;
  const retryAfterMs = status === 429 || status >= 500 || response.ok ? retryAfter(headers.get("Retry-After")) : null;
  if (typeof body?.code !== "string") throw new InvitationFailed(status < 500 ? { type: "error", code: "unknown" } : null, retryAfterMs);
  throw new InvitationFailed({ type: "error", code: body.code, message: body.message }, retryAfterMs);
}

/** @param {string | null} header  seconds; the other form, a date, is not used by the bridge */
function retryAfter(header) {
  const seconds = Number(header ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : 0;
}
