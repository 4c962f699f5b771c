import assert from "node:assert/strict";
import { test } from "node:test";

import { invitationIn } from "../shared/invitation.js";
import { plainLetters } from "../shared/letters.js";
import { monogram, shortSite } from "../shared/sitename.js";

test("what tells two hospitals apart survives on a small tile", () => {
  assert.equal(shortSite("Bệnh viện Đa khoa tỉnh Điện Biên"), "BVĐK tỉnh Điện Biên");
  assert.equal(shortSite("Trung tâm Y tế huyện Mường Nhé"), "TTYT huyện Mường Nhé");
  assert.equal(shortSite("Trung tâm Y tế khu vực Mường Nhé"), "TTYTKV Mường Nhé");
  assert.equal(shortSite("Bệnh viện Đa khoa khu vực Tây Bắc Nghệ An"), "BVĐKKV Tây Bắc Nghệ An");
  assert.equal(shortSite("Bệnh viện Bạch Mai"), "BV Bạch Mai");
  assert.equal(shortSite("Mahosot Hospital"), "Mahosot Hospital");
});

test("a name in decomposed letters is shortened as well", () => {
  assert.equal(shortSite("Bệnh viện Bạch Mai".normalize("NFD")), "BV Bạch Mai");
});

test("two letters stand for a site without a picture", () => {
  assert.equal(monogram("Trung tâm Y tế huyện Mường Nhé"), "MN");
  assert.equal(monogram("Bệnh viện Hữu nghị Việt Đức"), "VĐ");
  assert.equal(monogram("Bệnh viện Trung ương Huế (điểm chủ trì)"), "ƯH");
  assert.equal(monogram(""), "");
});

test("a search without marks finds names with marks", () => {
  assert.equal(plainLetters("Mường Nhé"), "muong nhe");
  assert.equal(plainLetters("ĐIỆN BIÊN Đông"), "dien bien dong");
});

test("the invitation is found in a link or a fragment, and nowhere else", () => {
  assert.equal(invitationIn("https://cau.example:8443/#i=abc.def"), "abc.def");
  assert.equal(invitationIn("#i=abc"), "abc");
  assert.equal(invitationIn("https://cau.example/?i=abc"), null);
  assert.equal(invitationIn(""), null);
});
