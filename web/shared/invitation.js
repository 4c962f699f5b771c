/**
 * The invitation: taken from the link, exchanged for a join token.
 */

import { address } from "./address.js";

/** @typedef {import("./types.js").Admission} Admission */
/** @typedef {import("./types.js").ProtocolError} ProtocolError */

export class InvitationFailed extends Error {
  /** @param {ProtocolError | null} problem  null: the server could not be reached */
  constructor(problem) {
    super(problem?.code ?? "unreachable");
    this.problem = problem;
  }
}

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
 * @returns {Promise<Admission>} fails with InvitationFailed
 */
export async function exchange(invitation) {
  let response;
  let body;
  try {
    response = await fetch(address("api/join"), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ invitation }),
      cache: "no-store",
    });
    body = await response.json();
  } catch (error) {
    if (error instanceof TypeError || error instanceof SyntaxError) throw new InvitationFailed(null);
    throw error;
  }
  if (!response.ok) {
    const code = typeof body?.code === "string" ? body.code : "unknown";
    throw new InvitationFailed({ type: "error", code, message: body?.message });
  }
  return body;
}
