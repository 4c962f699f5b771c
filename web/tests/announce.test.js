import assert from "node:assert/strict";
import { test } from "node:test";

import { PoliteQueue } from "../shared/announce.js";

/** What is said, and when, of messages that come at these milliseconds; asked as often as the queue wants. */
function said(messages, until) {
  const queue = new PoliteQueue();
  const found = [];
  for (let now = 0; now <= until; now += 50) {
    for (const [at, text] of messages) if (at === now) queue.add(text);
    const text = queue.take(now);
    if (text !== null) found.push([now, text]);
  }
  return found;
}

test("the first message is said at once", () => {
  assert.deepEqual(said([[0, "A."]], 5000), [[0, "A."]]);
});

test("thirty arrivals and departures are at most one message in two seconds", () => {
  const messages = Array.from({ length: 60 }, (_, index) => [index * 50, `Site ${index}.`]);
  const found = said(messages, 20_000);
  for (const [index, [at]] of found.entries()) if (index > 0) assert.ok(at - found[index - 1][0] >= 2000);
  assert.ok(found.length <= 4);
  assert.ok(found.every(([, text]) => text.split(". ").length <= 4));
  assert.match(found.at(-1)[1], /Site 59\.$/);
});

test("what is said twice meanwhile is said once", () => {
  assert.deepEqual(said([[0, "A."], [100, "B."], [200, "B."]], 5000), [[0, "A."], [2000, "B."]]);
});

test("a queue with nothing in it need not be asked again", () => {
  const queue = new PoliteQueue();
  assert.equal(queue.dueIn(0), null);
  queue.add("A.");
  assert.equal(queue.dueIn(0), 0);
  queue.take(0);
  queue.add("B.");
  assert.equal(queue.dueIn(500), 1500);
});
