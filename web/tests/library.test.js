import assert from "node:assert/strict";
import { test } from "node:test";

import { chaptersOf } from "../library/chapters.js";
import { sheetOf, tileAt, Timeline } from "../library/timeline.js";
import { bilingual, parseVtt, plainText } from "../library/vtt.js";
import { placeIn, placeOf } from "../library/place.js";

const PART = { number: 1, start_ms: 0, end_ms: 0, frames: 200, fps: 25, width: 320, height: 180, bytes: 1 };
const parts = (...frames) => frames.map((count, index) => ({ ...PART, number: index + 1, frames: count, start_ms: index * 1_000_000 }));

test("a position is found in the part that holds it, at its beginning and at the very end", () => {
  const timeline = new Timeline(parts(200, 100), []);
  assert.equal(timeline.duration, 12);
  assert.deepEqual(timeline.locate(0), { index: 0, offset: 0 });
  assert.deepEqual(timeline.locate(8), { index: 1, offset: 0 });
  assert.deepEqual(timeline.locate(11.5), { index: 1, offset: 3.5 });
  assert.deepEqual(timeline.locate(99), { index: 1, offset: 4 });
  assert.deepEqual(timeline.locate(-5), { index: 0, offset: 0 });
  assert.equal(timeline.positionIn(1, 3.5), 11.5);
});

test("a video without parts has no length and no places", () => {
  const timeline = new Timeline([], []);
  assert.equal(timeline.duration, 0);
  assert.equal(timeline.positionOf(5), 0);
  assert.equal(timeline.momentAt(5), 0);
});

test("moments go to their place behind the card of a pause, and come back", () => {
  const recorded = [
    { start_ms: 10_000, end_ms: 18_000 },
    { start_ms: 60_000, end_ms: 64_000 },
  ];
  const timeline = new Timeline(parts(200, 150), recorded);
  assert.equal(timeline.positionOf(12_000), 2);
  assert.equal(timeline.positionOf(60_000), 10);
  assert.equal(timeline.positionOf(62_000), 12);
  for (const at of [10_000, 17_500, 60_500, 63_000]) assert.equal(timeline.momentAt(timeline.positionOf(at)), at);
  // The pause, and the card that tells of it.
  assert.equal(timeline.positionOf(30_000), 10);
  assert.equal(timeline.momentAt(9), 60_000);
  assert.ok(!timeline.holds(30_000));
  assert.ok(timeline.holds(60_000));
});

test("moments before and after everything are at the ends", () => {
  const timeline = new Timeline(parts(200), [{ start_ms: 10_000, end_ms: 18_000 }]);
  assert.equal(timeline.positionOf(0), 0);
  assert.equal(timeline.positionOf(99_999), 8);
  assert.equal(timeline.momentAt(99), 18_000);
});

test("a short break is a plain cut without a card", () => {
  const recorded = [
    { start_ms: 0, end_ms: 4_000 },
    { start_ms: 4_200, end_ms: 8_200 },
  ];
  const timeline = new Timeline(parts(200), recorded);
  assert.equal(timeline.positionOf(4_200), 4);
});

test("stretches that do not fit the video are left for the parts' own times", () => {
  const timeline = new Timeline(parts(200, 100), [{ start_ms: 0, end_ms: 3_600_000 }]);
  assert.equal(timeline.positionOf(1_000_000), 8);
  assert.equal(timeline.momentAt(9), 1_001_000);
});

test("the tile of a moment is found on the contact sheet", () => {
  const sheet = sheetOf({ interval_s: 2, columns: 2, rows: 4, tile_width_px: 160, tile_height_px: 90, count: 7 });
  assert.ok(sheet);
  assert.deepEqual(tileAt(sheet, 0), { left: 0, top: 0 });
  assert.deepEqual(tileAt(sheet, 3.9), { left: 160, top: 0 });
  assert.deepEqual(tileAt(sheet, 4), { left: 0, top: 90 });
  assert.deepEqual(tileAt(sheet, 999), { left: 0, top: 270 });
});

test("a contact sheet that makes no sense is not used", () => {
  for (const index of [null, {}, { interval_s: 0, columns: 1, count: 1, tile_width_px: 1, tile_height_px: 1 }, { interval_s: "x" }]) {
    assert.equal(sheetOf(index), null);
  }
});

test("cues are read with and without numbers, hours and carriage returns", () => {
  const file = "\uFEFFWEBVTT\r\n\r\n1\r\n00:00:01.500 --> 00:00:02.000\r\nMột\r\n\r\n00:03.000 --> 01:00:04.250 align:start\nHai\nba\n";
  assert.deepEqual(parseVtt(file), [
    { id: "1", start: 1.5, end: 2, text: "Một" },
    { id: "", start: 3, end: 3604.25, text: "Hai\nba" },
  ]);
});

test("what is no cue is left out and what follows is read", () => {
  const file = "WEBVTT\n\nNOTE a remark\n\nSTYLE\n::cue {}\n\n00:05.000 --> 00:04.000\nbackwards\n\nnot --> a time\nx\n\n00:06.000 --> 00:07.000\ngood\n";
  assert.deepEqual(parseVtt(file).map(({ text }) => text), ["good"]);
  assert.deepEqual(parseVtt(""), []);
});

test("a cue's text is shown without tags and references", () => {
  assert.equal(plainText("<v BS. Hặc>Siêu âm &amp; X-quang &lt;2&gt;</v>"), "Siêu âm & X-quang <2>");
});

test("what our files say twice is shown in one language, and names stay whole", () => {
  assert.equal(bilingual("TYT Cô Tô · hình ảnh / content", "vi"), "TYT Cô Tô · hình ảnh");
  assert.equal(bilingual("TYT Cô Tô · hình ảnh / content", "en"), "TYT Cô Tô · content");
  assert.equal(bilingual("TYT Cô Tô: đang nói / speaking", "en"), "TYT Cô Tô: speaking");
  assert.equal(bilingual("Tạm dừng ghi / Recording paused", "vi"), "Tạm dừng ghi");
  assert.equal(bilingual("BVĐK tỉnh Điện Biên", "en"), "BVĐK tỉnh Điện Biên");
});

test("chapters come in the order of time and without the heading of their case", () => {
  const cues = [
    { id: "", start: 4, end: 8, text: "C01 BN-1 · Cô Tô" },
    { id: "", start: 0, end: 4, text: "C01 BN-1 · Bạch Mai" },
    { id: "", start: 8, end: 9, text: "C02 BN-2 · Huế" },
    { id: "", start: 9, end: 10, text: "C01 BN-1" },
  ];
  assert.deepEqual(
    chaptersOf(cues, "C01 BN-1").map(({ title }) => title),
    ["Bạch Mai", "Cô Tô", "C02 BN-2 · Huế", "C01 BN-1"],
  );
});

test("the address of a moment leads back to it, and a wrong one to the beginning", () => {
  assert.deepEqual(placeIn(placeOf("c-1", 754.9)), { id: "c-1", second: 754 });
  assert.equal(placeOf("c-1", 0.4), "#p=c-1");
  for (const hash of ["#p=c-1", "#p=c-1&t=", "#p=c-1&t=soon", "#p=c-1&t=-4", "#p=c-1&t=Infinity"]) {
    assert.deepEqual(placeIn(hash), { id: "c-1", second: 0 });
  }
  assert.equal(placeIn("").id, null);
});
