/**
 * WebVTT as our packages have it: cues with times and text. Pure.
 */

/** @typedef {{id: string, start: number, end: number, text: string}} Cue  times in seconds */

const TIMES = /^(?:(\d+):)?([0-5]\d):([0-5]\d)\.(\d{3})[ \t]+-->[ \t]+(?:(\d+):)?([0-5]\d):([0-5]\d)\.(\d{3})/;
const CUES_MAX = 20_000;

/**
 * @param {string} file
 * @returns {Cue[]} what can be read, in the file's order
 */
export function parseVtt(file) {
  /** @type {Cue[]} */
  const cues = [];
  for (const block of file.replace(/^\uFEFF/, "").replace(/\r\n?/g, "\n").split(/\n{2,}/)) {
    const lines = block.split("\n").filter((line) => line.trim() !== "");
    const at = lines.findIndex((line) => TIMES.test(line));
    if (at < 0 || at > 1) continue;
    const times = TIMES.exec(lines[at] ?? "");
    if (!times) continue;
    const start = seconds(times.slice(1, 5));
    const end = seconds(times.slice(5, 9));
    const text = lines.slice(at + 1).join("\n");
    if (text && end > start) cues.push({ id: at === 1 ? (lines[0] ?? "") : "", start, end, text });
    if (cues.length >= CUES_MAX) break;
  }
  return cues;
}

/** @param {(string | undefined)[]} parts  hours, minutes, seconds, milliseconds */
function seconds(parts) {
  const [hours, minutes, whole, milliseconds] = parts.map((part) => Number(part ?? 0));
  return (hours ?? 0) * 3600 + (minutes ?? 0) * 60 + (whole ?? 0) + (milliseconds ?? 0) / 1000;
}

/**
 * A cue's text without tags and character references.
 * @param {string} text
 */
export function plainText(text) {
  const bare = text.replace(/<[^>]*>/g, "");
  /** @type {Record<string, string>} */
  const characters = { amp: "&", lt: "<", gt: ">", nbsp: "\u00A0", lrm: "", rlm: "" };
  return bare.replace(/&(\w+);/g, (whole, name) => characters[name] ?? whole).trim();
}

/**
 * Our files say what is no name in both languages: "Cô Tô · hình ảnh / content". Take one of them.
 * @param {string} text
 * @param {"vi" | "en"} language
 */
export function bilingual(text, language) {
  return text
    .split(/( · |: |\n)/)
    .map((words) => {
      const both = words.split(" / ");
      return both.length === 2 ? both[language === "vi" ? 0 : 1] : words;
    })
    .join("");
}
