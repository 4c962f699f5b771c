/**
 * The library's HTTP API. Knows addresses and answers, and touches no DOM.
 */

import { address } from "../shared/address.js";

/** @typedef {import("./types.js").Session} Session */
/** @typedef {import("./types.js").Wishes} Wishes */
/** @typedef {import("./types.js").PackagePage} PackagePage */
/** @typedef {import("./types.js").PackageDetail} PackageDetail */
/** @typedef {import("./types.js").PackageSummary} PackageSummary */

const BASE = address("api/archive").href;
const OURS = { "X-Requested-With": "hoichan" };

export class LibraryFailed extends Error {
  /** @param {string} code  the API's, or "unreachable" */
  constructor(code) {
    super(code);
    this.code = code;
  }

  /** Whether a new session could help. */
  get isSignedOut() {
    return this.code === "invalid-token" || this.code === "expired-token";
  }
}

/**
 * @param {string} path
 * @param {RequestInit} [options]
 * @returns {Promise<Response>} fails with LibraryFailed
 */
async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(`${BASE}/${path}`, { cache: "no-store", credentials: "same-origin", ...options });
  } catch (error) {
    if (error instanceof TypeError) throw new LibraryFailed("unreachable");
    throw error;
  }
  if (response.ok) return response;
  let code = "unknown";
  try {
    const body = await response.json();
    if (typeof body?.code === "string") code = body.code;
  } catch (error) {
    if (!(error instanceof SyntaxError || error instanceof TypeError)) throw error;
  }
  throw new LibraryFailed(code);
}

/**
 * @param {string} path
 * @param {unknown} body
 */
async function tell(path, body) {
  const headers = { ...OURS, "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

/**
 * Open a session with an invitation, or renew that of the cookie.
 * @param {string | null} invitation
 * @returns {Promise<Session>}
 */
export function openSession(invitation) {
  return tell("session", invitation ? { invitation } : {});
}

export async function endSession() {
  await ask("session", { method: "DELETE", headers: OURS });
}

/**
 * @param {Wishes} wishes
 * @param {string | null} cursor
 * @returns {Promise<PackagePage>}
 */
export async function findPackages(wishes, cursor) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...wishes, cursor: cursor ?? "" })) if (value) query.set(name, value);
  return (await ask(`packages?${query}`)).json();
}

/** @returns {Promise<{packages: PackageSummary[], total: number}>} what moves now, and how many there are in all */
export async function findMoving() {
  return (await ask("progress")).json();
}

/** @param {string} id @returns {Promise<PackageDetail>} */
export async function readPackage(id) {
  return (await ask(`packages/${encodeURIComponent(id)}`)).json();
}

/** @param {string} id @param {number} offset @returns {Promise<Pick<PackageDetail, "gap_count" | "gaps">>} */
export async function readGaps(id, offset) {
  return (await ask(`packages/${encodeURIComponent(id)}/gaps?offset=${offset}`)).json();
}

/** @param {string} id @returns {Promise<PackageDetail>} */
export function retryPackage(id) {
  return tell(`packages/${id}/retry`, {});
}

/** @param {string} id @returns {Promise<PackageDetail>} */
export function checkPackage(id) {
  return tell(`packages/${id}/check`, {});
}

/**
 * @param {string} id
 * @param {boolean} hold
 * @param {string} reason
 * @returns {Promise<PackageDetail>}
 */
export function holdPackage(id, hold, reason) {
  return tell(`packages/${id}/hold`, { hold, reason });
}

/**
 * The patient of a recording has withdrawn consent.
 * @param {string} id
 * @param {string} reason
 * @returns {Promise<PackageDetail>}
 */
export function withdrawConsent(id, reason) {
  return tell(`packages/${id}/withdrawal`, { reason });
}

/** @param {string} id @param {string} name */
export async function readText(id, name) {
  return (await ask(`packages/${id}/files/${name}`)).text();
}

/** @param {string} id @param {string} name */
export function fileAddress(id, name) {
  return `${BASE}/packages/${id}/files/${name}`;
}

/**
 * @param {string} id
 * @param {"video" | "content"} series
 * @param {number} number
 */
export function partAddress(id, series, number) {
  return `${BASE}/packages/${id}/${series === "video" ? "parts" : "content"}/${number}`;
}

/** @param {string} id */
export function downloadAddress(id) {
  return `${BASE}/packages/${id}/download`;
}
