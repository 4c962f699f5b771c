/**
 * What to say, and what to advise, when the library's server refuses or is away.
 */

import { knownKey } from "../shared/text/text.js";

/**
 * @param {import("./api.js").LibraryFailed} failure
 * @returns {import("../shared/text/text.js").TextKey}
 */
export function failureText({ code }) {
  if (code === "unreachable") return "library.unreachable";
  const family = code.split(":")[0] ?? "";
  return knownKey(`library.error.${family}`, knownKey(`error.${family}`, "error.unknown"));
}
