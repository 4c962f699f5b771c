/** The connection in plain words: the line in the top bar, and the dialog behind it. */

import { openDialog } from "../shared/dialogs.js";
import { byId, element } from "../shared/dom.js";
import { grade, lineNumbers } from "../protocol/report.js";
import { language, setText } from "../shared/text/text.js";

/** Who comes to a device's picture waits for its next key frame: longer than this is worth telling. */
const KEYFRAME_INTERVAL_MAX_MS = 2500;

/** @typedef {import("./conference.js").Conference} Conference */
/** @typedef {import("../shared/text/text.js").Text} Text */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */

/**
 * What is known of the line: what the page measured, completed by what the bridge did.
 * @param {Conference} conference
 */
function numbers({ peer, state, weakness }) {
  return {
    ...lineNumbers(peer?.report ?? null, state.quality),
    isConnected: Boolean(peer?.isConnected),
    hasStarted: Boolean(peer && peer.negotiations > 0),
    isHeldBack: state.isHeldBack,
    weakness,
  };
}

/**
 * The line in one phrase.
 * @param {ReturnType<typeof numbers>} known
 * @returns {{text: TextKey, tone: string}}
 */
export function words(known) {
  if (!known.isConnected) {
    return { text: known.hasStarted ? "transport.restoring" : "transport.connecting", tone: "busy" };
  }
  // Whatever loss and delay say: the bridge found no room for a picture.
  if (known.isHeldBack) return { text: "transport.heldBack", tone: "poor" };
  const word = grade(known);
  const { weakness } = known;
  const tone = weakness && weakness !== "relay" ? (weakness === "processor" ? "fair" : "poor") : word;
  if (known.protocol === "tcp") return { text: "transport.tcp", tone: tone === "good" ? "fair" : tone };
  if (weakness && weakness !== "relay") return { text: `transport.weak.${weakness}`, tone };
  return { text: `transport.${word}`, tone: word };
}

/** @param {Conference} conference */
export function showTransport(conference) {
  const { text, tone } = words(numbers(conference));
  const button = byId("transport", HTMLElement);
  button.dataset.tone = tone;
  setText(byId("transport-text", HTMLElement), "text", text);
  setText(button, "title", adviceOf(numbers(conference)) ?? text);
}

/** One sentence on what to do, if there is anything. @param {ReturnType<typeof numbers>} known @returns {TextKey | null} */
export function adviceOf(known) {
  if (known.isHeldBack) return known.weakness === "wifi" ? "transport.advice.wifi" : "transport.advice.down";
  if (known.weakness === "relay") return known.protocol === "tcp" ? "transport.advice.tcp" : "transport.advice.relay";
  if (known.weakness) return `transport.advice.${known.weakness}`;
  if (grade(known) === "poor") return "transport.advice.poor";
  return known.protocol === "tcp" ? "transport.advice.tcp" : null;
}

/** @param {number} value @param {number} digits */
function figure(value, digits) {
  return value.toLocaleString(language(), { maximumFractionDigits: digits });
}

/** @param {number | null} value @param {(value: number) => Text} format @returns {Text} */
function known(value, format) {
  return value === null ? "transport.unknown" : format(value);
}

/** @param {Conference} conference */
export function openTransport(conference) {
  const list = element("dl", { class: "facts wide" });
  const advice = element("p", { class: "quiet-text" });
  const draw = () => {
    const now = numbers(conference);
    /** @type {(bps: number) => Text} */
    const rate = (bps) => ["unit.mbps", { value: figure(bps / 1e6, 2) }];
    /** @type {(ratio: number) => Text} */
    const percent = (ratio) => ["unit.percent", { value: figure(ratio * 100, 1) }];
    /** @type {[Text, Text][]} */
    const rows = [
      ["transport.state", words(now).text],
      ["transport.way", `transport.way.${now.protocol ?? "unknown"}`],
      ["transport.rtt", known(now.rttMs, (ms) => ["unit.ms", { value: figure(ms, 0) }])],
      ["transport.lossUp", known(now.lossUp, percent)],
      ["transport.lossDown", known(now.lossDown, percent)],
      ["transport.sent", known(now.sentBps, rate)],
      ["transport.received", known(now.receivedBps, rate)],
      ["transport.available", known(now.availableBps, rate)],
    ];
    for (const way of /** @type {const} */ (["sent", "received"])) {
      const picture = conference.peer?.[way];
      if (!picture) continue;
      const { widthPx: width, heightPx: height, bps } = picture;
      rows.push([`transport.content.${way}`, ["transport.content", { width, height, rate: figure((bps ?? 0) / 1e6, 2) }]]);
    }
    for (const { participant, keyframe_interval_ms: intervalMs } of conference.state.quality?.devices ?? []) {
      const site = conference.state.roster.get(participant)?.site;
      if (!site) continue;
      const seconds = figure(intervalMs / 1000, 1);
      const text = intervalMs > KEYFRAME_INTERVAL_MAX_MS ? "transport.keyframes.long" : "transport.keyframes.short";
      rows.push([["transport.keyframes", { site }], [text, { seconds }]]);
    }
    list.replaceChildren(
      ...rows.map(([term, value]) =>
        element("div", {}, element("dt", { text: term }), element("dd", { text: value })),
      ),
    );
    const text = adviceOf(now);
    advice.hidden = text === null;
    if (text) setText(advice, "text", text);
  };
  draw();
  const timer = setInterval(draw, 1000);
  openDialog("transport.title", [list, advice], { closed: () => clearInterval(timer) });
}
