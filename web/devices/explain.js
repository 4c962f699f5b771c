/** What went wrong with a device, in the words of this browser. */

/** @typedef {import("./media.js").DeviceProblem} DeviceProblem */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

/**
 * Each browser has its own sign for permissions beside the address.
 * @param {string} agent  navigator.userAgent
 * @returns {"chromium" | "firefox" | "safari"}
 */
export function browserFamily(agent) {
  if (/Firefox\//.test(agent)) return "firefox";
  // Chromium names Safari as well, and on an iPhone every browser is one (CriOS, FxiOS).
  return /Chrom(?:e|ium)\//.test(agent) ? "chromium" : "safari";
}

/**
 * @param {DeviceProblem} problem
 * @param {string} [agent]
 * @returns {TextKey}
 */
export function problemText(problem, agent = navigator.userAgent) {
  if (problem === "denied") return `device.problem.denied.${browserFamily(agent)}`;
  return problem === "abandoned" ? "device.problem.unknown" : `device.problem.${problem}`;
}
