import assert from "node:assert/strict";
import { test } from "node:test";

import { arrive, pause } from "../room/arrival.js";
import { Session } from "../room/session.js";
import { Tabs } from "../room/tabs.js";
import { exchange, InvitationFailed } from "../shared/invitation.js";
import { settled } from "./devices_stub.js";

const BACK = { name: "BS. Vừ A Dính", resume: { participant: "p-1", secret: "s" }, isMicrophoneOn: true, isCameraOn: false, atMs: 1000 };

/** What sessionStorage does. */
function storage() {
  const kept = new Map();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => void kept.set(key, value), removeItem: (key) => void kept.delete(key) };
}

test("a page that is loaded anew comes back once, and not on another day", () => {
  const store = storage();
  const session = new Session(() => store);
  session.keepReturn(BACK);
  assert.deepEqual(session.takeReturn(5000), BACK);
  assert.equal(session.takeReturn(5000), null);
  session.keepReturn(BACK);
  assert.equal(session.takeReturn(86_400_000), null);
  session.keepReturn(BACK);
  assert.equal(session.takeReturn(0), null, "a clock that was set back");
});

test("the invitation is known after loading anew, where the browser stores anything", () => {
  const store = storage();
  assert.equal(new Session(() => store).keepInvitation("abc"), true);
  assert.equal(new Session(() => store).invitation, "abc");
  const off = new Session(() => {
    throw new DOMException("no", "SecurityError");
  });
  assert.equal(off.keepInvitation("abc"), false);
  assert.equal(off.invitation, null);
  assert.equal(off.takeReturn(0), null);
});

test("a tab has one word for as long as it lives, and another tab another", () => {
  const store = storage();
  const { page } = new Session(() => store);
  assert.match(page, /^[0-9a-f]{32}$/);
  assert.equal(new Session(() => store).page, page);
  assert.notEqual(new Session(() => storage()).page, page);
  const off = new Session(() => {
    throw new DOMException("no", "SecurityError");
  });
  assert.match(off.page, /^[0-9a-f]{32}$/);
});

/** Channels of one browser, each hearing the others. */
function browser() {
  const channels = [];
  return () => {
    const channel = { onmessage: null };
    channel.postMessage = (data) => {
      for (const other of channels) if (other !== channel) queueMicrotask(() => other.onmessage?.({ data }));
    };
    channels.push(channel);
    return channel;
  };
}

test("a second tab of the same link finds the first, and goes on in its place", async () => {
  const channel = browser();
  let isLeft = false;
  const handOver = () => {
    isLeft = true;
    return BACK;
  };
  new Tabs(() => (isLeft ? null : { invitation: "abc", handOver }), channel());
  new Tabs(() => null, channel());
  const second = new Tabs(() => null, channel());
  assert.equal(await second.isElsewhere("abc"), true);
  assert.equal(isLeft, false);
  assert.equal(await second.isElsewhere("another"), false);
  assert.deepEqual(await second.moveHere("abc"), BACK);
  assert.equal(isLeft, true);
  assert.equal(await second.moveHere("abc"), null);
});

test("a browser without channels between tabs asks nobody", async () => {
  assert.equal(await new Tabs(() => null, null).isElsewhere("abc"), false);
});

/** A server that gives these answers, one after the other. */
function server(...answers) {
  globalThis.fetch = async () => {
    const [status, body, headers = {}] = answers.shift();
    if (status === 0) throw new TypeError("network");
    return new Response(body, { status, headers });
  };
}

const failure = (attempt) => attempt.then(() => null, (error) => error);

test("the exchange tells what passes by itself from what does not", async () => {
  const refused = (code) => JSON.stringify({ code });
  server(
    [200, JSON.stringify({ token: "t" })],
    [429, refused("rate-limited"), { "Retry-After": "7" }],
    [502, "<html>"],
    [0],
    [403, refused("expired-token")],
    [404, "<html>"],
  );
  assert.equal((await exchange("abc")).token, "t");
  const limited = await failure(exchange("abc"));
  assert.deepEqual([limited.problem.code, limited.retryAfterMs], ["rate-limited", 7000]);
  const proxy = await failure(exchange("abc"));
  assert.deepEqual([proxy.problem, proxy.retryAfterMs], [null, 0]);
  const away = await failure(exchange("abc"));
  assert.deepEqual([away.problem, away.retryAfterMs], [null, 0]);
  const expired = await failure(exchange("abc"));
  assert.deepEqual([expired.problem.code, expired.retryAfterMs], ["expired-token", null]);
  const strange = await failure(exchange("abc"));
  assert.deepEqual([strange.problem.code, strange.retryAfterMs], ["unknown", null]);
});

test("the first exchange waits for a busy server, as long as it asks for, and then goes on", async () => {
  const answers = [new InvitationFailed({ type: "error", code: "rate-limited" }, 7000), new InvitationFailed(null), { token: "t" }];
  const waits = [];
  const told = [];
  const admission = await arrive("abc", {
    exchange: async () => {
      const answer = answers.shift();
      if (answer instanceof Error) throw answer;
      return answer;
    },
    waiting: (problem) => told.push(problem?.code ?? null),
    signal: new AbortController().signal,
    wait: async (ms) => void waits.push(ms),
    random: () => 0.5,
  });
  assert.equal(admission.token, "t");
  assert.deepEqual(told, ["rate-limited", null]);
  assert.equal(waits[0], 7000 + 1050);
  assert.ok(waits[1] > 0 && waits[1] < 5000);
});

test("an invitation that is no longer good is not asked for again", async () => {
  const failed = await failure(
    arrive("abc", {
      exchange: async () => {
        throw new InvitationFailed({ type: "error", code: "expired-token" });
      },
      waiting: () => assert.fail("nothing to wait for"),
      signal: new AbortController().signal,
    }),
  );
  assert.equal(failed.problem.code, "expired-token");
});

test("a wait ends when the network is back, and when nobody waits any more", async () => {
  const listeners = new EventTarget();
  globalThis.addEventListener = listeners.addEventListener.bind(listeners);
  globalThis.removeEventListener = listeners.removeEventListener.bind(listeners);
  let ended = 0;
  const leaving = new AbortController();
  void pause(3_600_000, new AbortController().signal).then(() => (ended += 1));
  listeners.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(ended, 1);
  void pause(3_600_000, leaving.signal).then(() => (ended += 1));
  leaving.abort();
  await settled();
  assert.equal(ended, 2);
});
