import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection, parseMessage, reconnectDelay } from "../protocol/connection.js";

/** Timers that run when the test says so. */
class Clock {
  now = 0;
  #next = 1;
  #due = new Map();
  setTimeout = (run, ms) => {
    this.#due.set(this.#next, { at: this.now + ms, run });
    return this.#next++;
  };
  clearTimeout = (id) => void this.#due.delete(id);
  advance(ms) {
    const end = this.now + ms;
    for (;;) {
      const [id, first] = [...this.#due].sort((a, b) => a[1].at - b[1].at)[0] ?? [];
      if (!first || first.at > end) break;
      this.now = first.at;
      this.#due.delete(id);
      first.run();
    }
    this.now = end;
  }
}

class FakeSocket {
  readyState = 0;
  sent = [];
  isClosed = false;
  onopen = null;
  onclose = null;
  onmessage = null;
  onerror = null;
  open() {
    this.readyState = 1;
    this.onopen?.({});
  }
  receive(message) {
    this.onmessage?.({ data: JSON.stringify(message) });
  }
  lose(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
  send(data) {
    this.sent.push(JSON.parse(data));
  }
  close() {
    this.isClosed = true;
    this.readyState = 3;
  }
}

function setUp({ refresh = async () => ({ token: "fresh" }), ...options } = {}) {
  const clock = new Clock();
  const sockets = [];
  const states = [];
  const messages = [];
  const endings = [];
  const connection = new Connection(
    {
      url: "wss://bridge/ws",
      token: "first",
      name: "BS. Vừ A Dính",
      language: "vi",
      agent: "test",
      page: "tab",
      refreshToken: refresh,
      createSocket: () => {
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket;
      },
      timers: clock,
      random: () => 0.5,
      now: () => clock.now,
      ...options,
    },
    {
      stateChanged: (state, ending) => {
        states.push(state);
        if (ending) endings.push(ending);
      },
      received: (message) => messages.push(message),
    },
  );
  const welcome = (changes = {}) => ({
    type: "welcome",
    participant: "p-1",
    resume: { secret: "s1", seconds: 30 },
    resumed: false,
    beat_s: 4,
    ...changes,
  });
  return { clock, connection, sockets, states, messages, endings, welcome, last: () => sockets[sockets.length - 1] };
}

function joined(options) {
  const world = setUp(options);
  world.connection.open();
  world.last().open();
  world.last().receive(world.welcome());
  return world;
}

test("the first message of a socket is the join, with version, token and name", () => {
  const { last } = joined();
  const [join] = last().sent;
  assert.equal(join.type, "join");
  assert.equal(join.version, 1);
  assert.equal(join.token, "first");
  assert.equal(join.name, "BS. Vừ A Dính");
  assert.equal(join.resume, undefined);
});

test("nothing is sent before the welcome", () => {
  const { connection, last } = setUp();
  connection.open();
  last().open();
  assert.equal(connection.send({ type: "hand", raised: true }), false);
  assert.equal(last().sent.length, 1);
});

test("a dropped socket comes back with the resume secret", () => {
  const { clock, last, sockets, states } = joined();
  last().lose();
  clock.advance(1100);
  assert.equal(sockets.length, 2);
  last().open();
  assert.deepEqual(last().sent[0].resume, { participant: "p-1", secret: "s1" });
  last().receive({ type: "welcome", participant: "p-1", resume: { secret: "s2", seconds: 30 }, resumed: true, beat_s: 4 });
  assert.deepEqual(states, ["connecting", "joined", "reconnecting", "joined"]);
});

test("a rejoin uses the newest token the bridge sent", () => {
  const { clock, last } = joined();
  last().receive({ type: "token", token: "second", expires_s: 600 });
  last().lose();
  clock.advance(1100);
  last().open();
  assert.equal(last().sent[0].token, "second");
});

test("attempts go on, ever more slowly, while the server is away", () => {
  const { clock, sockets, last } = joined();
  last().lose();
  for (let attempt = 0; attempt < 8; attempt++) {
    const before = sockets.length;
    clock.advance(reconnectDelay(attempt, 0.5));
    assert.equal(sockets.length, before + 1);
    last().lose();
  }
});

test("an attempt that nobody answers is given up and repeated", () => {
  const { clock, connection, sockets } = setUp();
  connection.open();
  clock.advance(10_000);
  assert.equal(connection.state, "reconnecting");
  clock.advance(1100);
  assert.equal(sockets.length, 2);
});

test("the network's return ends the back-off at once", () => {
  const { clock, connection, sockets, last } = joined();
  last().lose();
  for (let attempt = 0; attempt < 5; attempt++) {
    clock.advance(5000);
    last().lose();
  }
  const before = sockets.length;
  connection.retryNow();
  assert.equal(sockets.length, before + 1);
});

/** Let a promise that has its answer be heard. */
const heard = () => new Promise((resolve) => setImmediate(resolve));

test("a token expired during a long outage is refreshed from the invitation", async () => {
  const { clock, connection, last } = joined({ refresh: async () => ({ token: "third" }) });
  last().lose();
  clock.advance(700_000);
  last().open();
  last().receive({ type: "error", code: "expired-token", for: "join" });
  await heard();
  last().open();
  assert.equal(last().sent[0].token, "third");
  assert.equal(connection.state, "reconnecting");
});

test("who stayed before the room for longer than the token lives comes in all the same", async () => {
  const { connection, last } = setUp({ tokenAgeMs: 660_000 });
  connection.open();
  last().open();
  last().receive({ type: "error", code: "expired-token", for: "join" });
  await heard();
  last().open();
  assert.equal(last().sent[0].token, "fresh");
});

test("a fresh token that is refused is not exchanged for ever", async () => {
  const asked = [];
  const { connection, endings, last } = setUp({
    tokenAgeMs: 660_000,
    refresh: async () => {
      asked.push(1);
      return { token: "fresh" };
    },
  });
  connection.open();
  for (let round = 0; round < 3 && connection.state !== "closed"; round++) {
    last().open();
    last().receive({ type: "error", code: "invalid-token", for: "join" });
    await heard();
  }
  assert.equal(asked.length, 1);
  assert.equal(endings[0].error.code, "invalid-token");
});

test("an invitation that is no longer good ends the connection with its code", async () => {
  const gone = { type: "error", code: "expired-token" };
  const { clock, connection, endings, last } = joined({ refresh: async () => ({ gone }) });
  last().lose();
  clock.advance(700_000);
  last().open();
  last().receive({ type: "error", code: "expired-token", for: "join" });
  await heard();
  assert.equal(connection.state, "closed");
  assert.equal(endings[0].error.code, "expired-token");
});

test("a server that cannot be asked for a token now is asked again, not before it wants to be", async () => {
  const answers = [{ laterMs: 20_000 }, { laterMs: 0 }, { token: "third" }];
  const { clock, connection, last, sockets } = joined({ refresh: async () => answers.shift() });
  last().lose();
  clock.advance(700_000);
  last().open();
  const before = sockets.length;
  last().receive({ type: "error", code: "expired-token", for: "join" });
  await heard();
  assert.equal(connection.state, "reconnecting");
  clock.advance(20_000);
  await heard();
  assert.equal(answers.length, 2, "left alone for as long as it asked for");
  for (let second = 0; second < 10; second++) {
    clock.advance(1000);
    await heard();
  }
  assert.equal(answers.length, 0);
  assert.equal(sockets.length, before + 1);
  last().open();
  assert.equal(last().sent[0].token, "third");
});

test("a request for a token that hangs is given up, and its late answer changes nothing", async () => {
  const pending = [];
  const { clock, connection, last, sockets } = joined({ refresh: () => new Promise((resolve) => pending.push(resolve)) });
  last().lose();
  clock.advance(700_000);
  last().open();
  last().receive({ type: "error", code: "expired-token", for: "join" });
  clock.advance(16_000);
  assert.equal(pending.length, 2);
  const before = sockets.length;
  pending[0]({ gone: { type: "error", code: "expired-token" } });
  await heard();
  assert.equal(connection.state, "reconnecting");
  connection.retryNow();
  assert.equal(pending.length, 3, "the network's return asks at once");
  pending[2]({ token: "third" });
  await heard();
  assert.equal(sockets.length, before + 1);
});

test("waiting in the lobby survives until admitted", () => {
  const { connection, last, states, welcome } = setUp();
  connection.open();
  last().open();
  last().receive({ type: "waiting", reason: "locked", beat_s: 4 });
  assert.equal(connection.state, "waiting");
  last().receive(welcome());
  assert.deepEqual(states, ["connecting", "waiting", "joined"]);
});

test("somebody turned away from the lobby is told and does not come back", async () => {
  const { clock, connection, endings, last, sockets } = setUp();
  connection.open();
  last().open();
  last().receive({ type: "waiting", reason: "locked", beat_s: 4 });
  last().receive({ type: "error", code: "refused", for: "join" });
  await new Promise((resolve) => setImmediate(resolve));
  clock.advance(60_000);
  assert.equal(connection.state, "closed");
  assert.equal(endings[0].reason, "refused");
  assert.equal(sockets.length, 1);
});

test("a removed participant does not come back", () => {
  const { clock, connection, endings, last, sockets } = joined();
  last().receive({ type: "removed", by: "p-0" });
  clock.advance(60_000);
  assert.equal(connection.state, "closed");
  assert.equal(endings[0].reason, "removed");
  assert.equal(sockets.length, 1);
});

test("leaving says so and closes the socket", () => {
  const { connection, last } = joined();
  connection.leave();
  assert.equal(last().sent.at(-1).type, "leave");
  assert.equal(last().isClosed, true);
  assert.equal(connection.state, "closed");
});

test("an error after the join ends nothing", () => {
  const { connection, last, messages } = joined();
  last().receive({ type: "error", code: "rate-limited", for: "chat" });
  assert.equal(connection.state, "joined");
  assert.equal(messages.at(-1).code, "rate-limited");
});

test("a bridge that misses three beats is taken for lost, one that says anything is not", () => {
  const { clock, connection, last } = joined();
  for (let beat = 0; beat < 5; beat++) {
    clock.advance(11_900);
    last().receive(beat % 2 ? { type: "beat" } : { type: "quality", rtt_ms: 20 });
    assert.equal(connection.state, "joined");
  }
  clock.advance(12_000);
  assert.equal(connection.state, "reconnecting");
});

test("an old socket's late messages are ignored", () => {
  const { clock, connection, messages, sockets, last } = joined();
  const [old] = sockets;
  const listener = old.onmessage;
  last().lose();
  clock.advance(1100);
  const before = messages.length;
  listener({ data: JSON.stringify({ type: "removed" }) });
  assert.equal(messages.length, before);
  assert.equal(connection.state, "reconnecting");
});

test("a lobby that falls silent is left for a new attempt", () => {
  const { clock, connection, last, sockets } = setUp();
  connection.open();
  last().open();
  last().receive({ type: "waiting", reason: "locked", beat_s: 4 });
  clock.advance(11_000);
  last().receive({ type: "beat" });
  clock.advance(11_000);
  assert.equal(connection.state, "waiting");
  clock.advance(1000);
  assert.equal(connection.state, "reconnecting");
  clock.advance(2000);
  assert.equal(sockets.length, 2);
});

test("the network's return leaves a lobby that may be gone", () => {
  const { connection, last, sockets } = setUp();
  connection.open();
  last().open();
  last().receive({ type: "waiting", reason: "locked", beat_s: 4 });
  connection.retryNow();
  assert.equal(sockets.length, 2);
});

test("after a sleep a bridge that says nothing is left within seconds, one that speaks is kept", () => {
  const { clock, connection, last } = joined();
  last().receive({ type: "quality" });
  connection.woke();
  clock.advance(4000);
  last().receive({ type: "beat" });
  clock.advance(11_000);
  assert.equal(connection.state, "joined");
  connection.woke();
  clock.advance(4500);
  assert.equal(connection.state, "reconnecting");
});

test("a page that was loaded anew goes on as who it was", () => {
  const resume = { participant: "p-7", secret: "kept" };
  const { connection, last, welcome } = setUp({ resume });
  connection.open();
  last().open();
  assert.deepEqual(last().sent[0].resume, resume);
  last().receive(welcome({ resumed: true }));
  assert.deepEqual(connection.resume, { participant: "p-1", secret: "s1" });
});

test("handing over says nothing to the bridge", () => {
  const { connection, endings, last } = joined();
  connection.handOver();
  assert.equal(last().sent.length, 1);
  assert.equal(last().isClosed, true);
  assert.equal(endings[0].reason, "moved");
});

for (const [code, reason] of [[1001, "over"], [4000, "left"], [4001, "moved"], [4002, "removed"], [4005, "refused"]]) {
  test(`a socket that ends with ${code} is not opened again`, () => {
    const { clock, connection, endings, last, sockets } = joined();
    last().lose(code);
    clock.advance(60_000);
    assert.equal(connection.state, "closed");
    assert.equal(endings[0].reason, reason);
    assert.equal(sockets.length, 1);
  });
}

test("a link that is revoked ends with the words for it", () => {
  const { endings, last } = joined();
  last().receive({ type: "error", code: "revoked-link" });
  last().lose(4007);
  assert.equal(endings[0].error.code, "revoked-link");
});

test("a room that takes nobody now is asked again", () => {
  const { clock, connection, last, sockets } = setUp();
  connection.open();
  last().open();
  last().receive({ type: "error", code: "no-more-rooms", for: "join" });
  clock.advance(5000);
  assert.equal(connection.state, "reconnecting");
  assert.equal(sockets.length, 2);
});

/** A hundred pages that lose a server which is back after `downMs`: when each has joined again. */
function comeBack(downMs) {
  const returns = [];
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  for (let page = 0; page < 100; page++) {
    const { clock, last, sockets, welcome } = joined({ random });
    const lostAt = clock.now;
    last().lose(1012);
    while (clock.now - lostAt < 60_000) {
      const before = sockets.length;
      clock.advance(10);
      if (sockets.length === before) continue;
      if (clock.now - lostAt < downMs) last().lose();
      else break;
    }
    last().open();
    last().receive(welcome());
    returns.push(clock.now - lostAt);
  }
  return returns;
}

for (const downMs of [200, 3000, 8000]) {
  test(`a hundred pages that lose a server for ${downMs} ms come back spread, and soon`, () => {
    const returns = comeBack(downMs);
    const perSecond = new Map();
    for (const at of returns) perSecond.set(Math.floor(at / 1000), (perSecond.get(Math.floor(at / 1000)) ?? 0) + 1);
    assert.ok(Math.max(...perSecond.values()) <= 60, JSON.stringify([...perSecond]));
    assert.ok(Math.max(...returns) <= downMs + 7000, String(Math.max(...returns)));
    assert.ok(Math.max(...returns) <= 15_000, String(Math.max(...returns)));
  });
}

test("what is not a message is ignored", () => {
  const { connection, last, messages } = joined();
  for (const data of ["", "{", "null", "[]", '"text"', "{}", '{"type":5}', undefined]) {
    assert.equal(parseMessage(data), null);
    last().onmessage({ data });
  }
  assert.equal(messages.length, 1);
  assert.equal(connection.state, "joined");
});

test("the delay is any time up to a limit that grows to five seconds", () => {
  assert.equal(reconnectDelay(0, 0), 100);
  assert.equal(reconnectDelay(0, 1), 2000);
  assert.equal(reconnectDelay(1, 1), 4000);
  assert.equal(reconnectDelay(20, 1), 5000);
  assert.equal(reconnectDelay(50, 0), 100);
});
