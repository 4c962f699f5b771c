/**
 * What is told of a recording beside its video: gaps, attendance, keeping,
 * downloads, and who has had access.
 */

import { element, icon } from "../shared/dom.js";
import { shortSite } from "../shared/sitename.js";
import { knownKey, setText, t } from "../shared/text/text.js";
import { downloadAddress, fileAddress, LibraryFailed, partAddress, readGaps } from "./api.js";
import * as format from "./format.js";
import { lengthOf } from "./timeline.js";

/** @typedef {import("./types.js").PackageDetail} PackageDetail */
/** @typedef {import("./types.js").Gap} Gap */
/** @typedef {import("./timeline.js").Timeline} Timeline */
/** @typedef {import("../shared/text/text.js").TextKey} TextKey */
/** @typedef {import("../shared/text/text.js").Text} Text */

const SEAL_SHOWN = 16;

/**
 * @param {string} name
 * @param {TextKey} title
 * @param {...(Node | null)} children
 */
function card(name, title, ...children) {
  return element(
    "section",
    { class: "card info-card", attributes: { "data-card": name, "aria-labelledby": `card-${name}` } },
    element("h2", { id: `card-${name}`, text: title }),
    ...children,
  );
}

/** @param {Gap} gap @returns {Text} */
function gapText(gap) {
  const source = t(knownKey(`library.source.${gap.source}`, "library.source.unknown"));
  const reason = t(knownKey(`library.gap.${gap.reason}`, "library.gap.unknown"));
  const length = format.exactLength(gap.missing_ms);
  if (!gap.site) return ["library.gap.all", { length, source, reason }];
  return ["library.gap.of", { length, source, site: shortSite(gap.site), reason }];
}

/**
 * @param {PackageDetail} detail
 * @param {Timeline} timeline
 * @param {(position: number) => void} seek
 */
export function gapsCard(detail, timeline, seek) {
  if (detail.gap_count === null) {
    return card("gaps", "library.gaps", element("p", { class: "problem", text: "library.gaps.unreadable" }));
  }
  if (detail.gap_count === 0) {
    return card("gaps", "library.gaps", element("p", { class: "all-good" }, icon("check"), element("span", { text: "library.gaps.none" })));
  }
  const list = element("ul", { class: "gaps" }, ...detail.gaps.map(item));
  let shown = detail.gaps.length;
  const total = detail.gap_count;
  const more = element("button", { class: "button", attributes: { "data-action": "more-gaps" }, click: () => void showMore() });
  function count() {
    more.hidden = shown >= total;
    setText(more, "text", ["library.gaps.more", { count: total - shown }]);
  }
  async function showMore() {
    more.disabled = true;
    try {
      const page = await readGaps(detail.id, shown);
      list.append(...page.gaps.map(item));
      shown = page.gaps.length > 0 ? shown + page.gaps.length : total;
    } catch (error) {
      if (!(error instanceof LibraryFailed)) throw error;
    } finally {
      more.disabled = false;
    }
    count();
  }
  count();
  return card("gaps", "library.gaps", list, more);

  /** @param {Gap} gap */
  function item(gap) {
    const position = timeline.positionOf(gap.start_ms);
    return element(
      "li",
      {},
      element(
        "button",
        { class: "gap", click: () => seek(position) },
        element("span", { class: "chapter-time", value: format.position(position) }),
        element("span", { text: gapText(gap) }),
      ),
    );
  }
}

/** @param {PackageDetail} detail */
export function attendanceCard(detail) {
  const { attendance } = detail;
  if (!attendance) {
    const sites = detail.sites.map((site) => element("li", { class: "site-name", value: site }));
    return card("attendance", "library.attendance", element("ul", { class: "sites-list" }, ...sites));
  }
  const items = attendance.sites.map((site) => {
    const people = attendance.people.filter((person) => person.site === site.site && !person.device);
    const names = people.map((person) =>
      element(
        "li",
        {},
        element("span", { value: person.name }),
        element("span", { class: "quiet-text", text: knownKey(`role.${person.role}`, "role.observer") }),
      ),
    );
    return element(
      "li",
      { class: "attending-site" },
      element(
        "div",
        { class: "attending-head" },
        element("span", { class: "site-name", value: site.site }),
        element("span", { class: "quiet-text", text: ["library.minutes", { value: format.length(site.minutes * 60_000) }] }),
      ),
      element("ul", { class: "people-names" }, ...names),
    );
  });
  return card("attendance", "library.attendance", element("ul", { class: "sites-list" }, ...items));
}

/**
 * @param {TextKey} name
 * @param {Text | null} text
 * @param {{isBad?: boolean, value?: string}} [options]
 */
function fact(name, text, { isBad = false, value } = {}) {
  const shown = text ? element("span", { text }) : element("span", { class: "seal-text", value: value ?? "" });
  return element("div", {}, element("dt", { text: name }), element("dd", isBad ? { class: "is-bad" } : {}, shown));
}

/**
 * What the patient said, what was decided where it is no yes, and a way to take it back afterwards.
 * @param {PackageDetail} detail
 * @param {() => void} withdraw
 */
export function consentCard(detail, withdraw) {
  const { consent, consent_ms, disposition } = detail;
  if (!consent) return null;
  const isBad = consent !== "granted";
  const facts = [fact("library.consent", `library.consent.${consent}`, { isBad })];
  if (consent_ms !== null) facts.push(fact("library.consent.said", ["library.at", { time: format.dayAndHour(consent_ms) }]));
  if (disposition) facts.push(fact("library.disposition", `library.disposition.${disposition}`));
  const button = element(
    "button",
    { class: "button", click: withdraw, attributes: { "data-action": "withdraw" } },
    icon("warning"),
    element("span", { text: "library.consent.withdraw" }),
  );
  const mayWithdraw = disposition === null || disposition === "keep";
  return card("consent", "library.consent", element("dl", { class: "facts keeping-facts" }, ...facts), mayWithdraw ? button : null);
}

/**
 * @param {PackageDetail} detail
 * @param {{mayRelease: boolean, hold: () => void, check: (() => void) | null}} deeds  check: null while one is made
 */
export function keepingCard(detail, { mayRelease, hold, check }) {
  const facts = [];
  if (detail.sealed_ms !== null) facts.push(fact("library.sealed", ["library.at", { time: format.dayAndHour(detail.sealed_ms) }]));
  if (detail.seal) facts.push(fact("library.seal", null, { value: `${detail.seal.slice(0, SEAL_SHOWN)}…` }));
  facts.push(checkFact(detail), deliveryFact(detail));
  facts.push(fact("library.retention", retentionText(detail)));
  facts.push(fact("library.hold", detail.legal_hold ? "library.hold.on" : "library.hold.off"));
  const mayChange = !detail.legal_hold || mayRelease;
  const button = element(
    "button",
    { class: "button", click: hold, attributes: { "data-action": "hold" } },
    icon(detail.legal_hold ? "unlock" : "lock"),
    element("span", { text: detail.legal_hold ? "library.hold.release" : "library.hold.set" }),
  );
  const checking = element(
    "button",
    { class: "button", attributes: { "data-action": "check", "data-focus": "check" } },
    icon("check"),
    element("span", { text: check ? "library.check.now" : "library.check.running" }),
  );
  checking.disabled = check === null;
  if (check) checking.addEventListener("click", check);
  const deeds = element("div", { class: "keeping-deeds" }, checking, mayChange ? button : null);
  return card("keeping", "library.keeping", element("dl", { class: "facts keeping-facts" }, ...facts), deeds);
}

/** @param {PackageDetail} detail */
function checkFact(detail) {
  if (detail.checked_ms === null) return fact("library.check", "library.check.never");
  const time = format.dayAndHour(detail.checked_ms);
  if (detail.fixity_ok === false) return fact("library.check", ["library.check.bad", { time }], { isBad: true });
  return fact("library.check", ["library.check.good", { time }]);
}

/** @param {PackageDetail} detail */
function deliveryFact(detail) {
  if (detail.delivered_ms !== null) {
    return fact("library.delivery", ["library.delivery.done", { time: format.dayAndHour(detail.delivered_ms) }]);
  }
  const last = detail.deliveries[0];
  if (!last) return fact("library.delivery", "library.delivery.none");
  return fact("library.delivery", ["library.delivery.failed", { time: format.dayAndHour(last.at_ms) }], { isBad: true });
}

/** @param {PackageDetail} detail @returns {Text} */
function retentionText(detail) {
  const name = t(knownKey(`library.retention.${detail.retention}`, "library.retention.ordinary"));
  if (!detail.retention_until) return ["library.retention.forever", { name }];
  return ["library.retention.until", { name, day: format.plainDay(detail.retention_until) }];
}

/** @param {PackageDetail} detail */
export function downloadsCard(detail) {
  const items = [];
  for (const series of /** @type {const} */ (["video", "content"])) {
    for (const part of detail[series]) {
      const words = { number: part.number, length: format.length(lengthOf(part) * 1000), size: format.size(part.bytes) };
      const text = /** @type {TextKey} */ (series === "video" ? "library.download.video" : "library.download.content");
      items.push(download(`${partAddress(detail.id, series, part.number)}?save`, [text, words]));
    }
  }
  if (detail.files.includes("attendance")) items.push(download(fileAddress(detail.id, "attendance"), "library.download.attendance"));
  items.push(download(downloadAddress(detail.id), ["library.download.package", { size: format.size(detail.bytes) }]));
  return card("downloads", "library.downloads", element("ul", { class: "downloads" }, ...items), element("p", { class: "quiet-text", text: "library.downloads.note" }));
}

/** @param {string} address @param {Text} text */
function download(address, text) {
  const link = element("a", { class: "download", attributes: { href: address, download: "" } }, icon("download"), element("span", { text }));
  return element("li", {}, link);
}

/**
 * The audit begins with a role of ours, or with the machine that did it.
 * @param {string} who
 */
function whoDid(who) {
  const [first = "", ...rest] = who.split(", ");
  const key = knownKey(`role.${first}`, knownKey(`library.who.${first.replace(" ", "-")}`, "app.title"));
  if (key === "app.title") return [element("span", { value: who })];
  return [element("span", { text: key }), element("span", { value: rest.map((word) => `, ${word}`).join("") })];
}

/** @param {PackageDetail} detail */
export function auditCard(detail) {
  if (!detail.audit) return null;
  const rows = detail.audit.map((line) =>
    element(
      "tr",
      {},
      element("td", { value: format.dayAndHour(line.at_ms) }),
      element("td", { text: knownKey(`library.audit.${line.action}`, "library.audit.other") }),
      element("td", {}, ...whoDid(line.who)),
    ),
  );
  const table = element("table", { class: "audit" }, element("tbody", {}, ...rows));
  return card("audit", "library.audit", rows.length > 0 ? table : element("p", { class: "quiet-text", text: "library.audit.none" }));
}
