import assert from "node:assert/strict";
import { test } from "node:test";

import { ASPECT, bestGrid, galleryCapacity, paginate, stripCapacity, twoPictures } from "../room/layout.js";

test("every grid holds all its tiles inside the room there is", () => {
  for (const [width, height] of [[1900, 880], [1340, 560], [374, 420], [900, 300]]) {
    for (let count = 1; count <= 50; count++) {
      const { columns, rows, tileWidth, tileHeight } = bestGrid(count, width, height, 8);
      assert.ok(columns * rows >= count);
      assert.ok(columns * tileWidth + (columns - 1) * 8 <= width + 1);
      assert.ok(rows * tileHeight + (rows - 1) * 8 <= height + 1);
    }
  }
});

test("four sites on a wide screen make two by two", () => {
  const { columns, rows } = bestGrid(4, 1900, 880, 8);
  assert.deepEqual([columns, rows], [2, 2]);
});

test("a grid of nothing, or in no room, is harmless", () => {
  assert.equal(bestGrid(0, 1000, 500, 8).columns, 1);
  assert.equal(bestGrid(5, 0, 0, 8).tileWidth, 0);
});

test("a full-hd wall shows thirty sites on one gallery page, a laptop fewer, a phone fewer still", () => {
  const wall = galleryCapacity(1900, 890, 8, 240, 50);
  const laptop = galleryCapacity(1340, 610, 8, 240, 50);
  const phone = galleryCapacity(374, 430, 8, 150, 50);
  assert.ok(wall >= 30);
  assert.ok(laptop < wall && laptop >= 15);
  assert.ok(phone < laptop && phone >= 6);
});

test("a page never holds more than the bridge gives slots", () => {
  assert.equal(galleryCapacity(10_000, 10_000, 8, 100, 50), 50);
  assert.equal(stripCapacity(10_000, 100, 8, 10), 10);
  assert.equal(stripCapacity(50, 200, 8, 10), 1);
});

test("pages cover everybody and a page beyond the end becomes the last one", () => {
  assert.deepEqual(paginate(29, 6, 0), { page: 0, pages: 5, first: 0 });
  assert.deepEqual(paginate(29, 6, 4), { page: 4, pages: 5, first: 24 });
  assert.deepEqual(paginate(7, 6, 4), { page: 1, pages: 2, first: 6 });
  assert.deepEqual(paginate(0, 6, 3), { page: 0, pages: 1, first: 0 });
  assert.deepEqual(paginate(5, 6, -1), { page: 0, pages: 1, first: 0 });
});

test("stage and content are equal until the viewer enlarges one", () => {
  assert.deepEqual(twoPictures(true, "equal", 1900, 720), { arrangement: "row", stageShare: 0.5 });
  assert.equal(twoPictures(true, "stage", 1900, 720).stageShare, 0.75);
  assert.equal(twoPictures(true, "content", 1900, 720).stageShare, 0.25);
});

test("without content the stage has everything", () => {
  assert.deepEqual(twoPictures(false, "equal", 1900, 720), { arrangement: "single", stageShare: 1 });
});

test("two pictures stand one above the other where that makes them larger", () => {
  assert.equal(twoPictures(true, "equal", 390, 600).arrangement, "column");
  assert.equal(twoPictures(true, "equal", 1900, 700).arrangement, "row");
  assert.ok(ASPECT > 1.7);
});

test("the names under the pictures have their place in every grid", () => {
  for (let count = 1; count <= 30; count++) {
    const { rows, columns, tileWidth, tileHeight } = bestGrid(count, 1340, 610, 8, 52);
    assert.ok(rows * tileHeight + (rows - 1) * 8 <= 611);
    assert.ok(columns * tileWidth + (columns - 1) * 8 <= 1341);
    assert.ok(Math.abs(tileWidth / ASPECT + 52 - tileHeight) <= 1);
  }
  assert.ok(galleryCapacity(1340, 610, 8, 240, 50, 52) < galleryCapacity(1340, 610, 8, 240, 50));
});
