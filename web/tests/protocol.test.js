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
  lose() {
    this.readyState = 3;
    this.onclose?.({});
  }
  send(data) {
    this.sent.push(JSON.parse(data));
  }
  close() {
    this.isClosed = true;
    this.readyState = 3;
  }
}

function setUp({ refresh = async () => "fresh" } = {}) {
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
      refreshToken: refresh,
      createSocket: () => {
        const socket = new FakeSocket();
        sockets.push(socket);
        return socket;
      },
      timers: clock,
      random: () => 0.5,
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
  clock.advance(300);
  assert.equal(sockets.length, 2);
  last().open();
  assert.deepEqual(last().sent[0].resume, { participant: "p-1", secret: "s1" });
  last().receive({ type: "welcome", participant: "p-1", resume: { secret: "s2", seconds: 30 }, resumed: true });
  assert.deepEqual(states, ["connecting", "joined", "reconnecting", "joined"]);
});

test("a rejoin uses the newest token the bridge sent", () => {
  const { clock, last } = joined();
  last().receive({ type: "token", token: "second", expires_s: 600 });
  last().lose();
  clock.advance(300);
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
  clock.advance(300);
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

test("a token expired during a long outage is refreshed from the invitation", async () => {
  const { clock, connection, last } = joined({ refresh: async () => "third" });
  last().lose();
  clock.advance(300);
  last().open();
  last().receive({ type: "error", code: "expired-token", for: "join" });
  await new Promise((resolve) => setImmediate(resolve));
  last().open();
  assert.equal(last().sent[0].token, "third");
  assert.equal(connection.state, "reconnecting");
});

test("an invitation that is no longer good ends the connection with its code", async () => {
  const { clock, connection, endings, last } = joined({ refresh: async () => null });
  last().lose();
  clock.advance(300);
  last().open();
  last().receive({ type: "error", code: "expired-token", for: "join" });
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(connection.state, "closed");
  assert.equal(endings[0].error.code, "expired-token");
});

test("waiting in the lobby survives until admitted", () => {
  const { connection, last, states, welcome } = setUp();
  connection.open();
  last().open();
  last().receive({ type: "waiting" });
  assert.equal(connection.state, "waiting");
  last().receive(welcome());
  assert.deepEqual(states, ["connecting", "waiting", "joined"]);
});

test("somebody turned away from the lobby is told and does not come back", async () => {
  const { clock, connection, endings, last, sockets } = setUp();
  connection.open();
  last().open();
  last().receive({ type: "waiting" });
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

test("a bridge that reports quality and then falls silent is taken for lost", () => {
  const { clock, connection, last } = joined();
  last().receive({ type: "quality", rtt_ms: 20 });
  clock.advance(8000);
  assert.equal(connection.state, "joined");
  clock.advance(2000);
  assert.equal(connection.state, "reconnecting");
});

test("an old socket's late messages are ignored", () => {
  const { clock, connection, messages, sockets, last } = joined();
  const [old] = sockets;
  const listener = old.onmessage;
  last().lose();
  clock.advance(300);
  const before = messages.length;
  listener({ data: JSON.stringify({ type: "removed" }) });
  assert.equal(messages.length, before);
  assert.equal(connection.state, "reconnecting");
});

test("rejoining drops the session, so that the bridge makes a new participant", () => {
  const { connection, last } = joined();
  connection.rejoin();
  last().open();
  assert.equal(last().sent[0].resume, undefined);
});

test("what is not a message is ignored", () => {
  const { connection, last, messages } = joined();
  for (const data of ["", "{", "null", "[]", '"text"', "{}", '{"type":5}', undefined]) {
    assert.equal(parseMessage(data), null);
    last().onmessage({ data });
  }
  assert.equal(messages.length, 1);
  assert.equal(connection.state, "joined");
});

test("the delay grows to five seconds and is spread by a quarter either way", () => {
  assert.equal(reconnectDelay(0, 0.5), 250);
  assert.equal(reconnectDelay(20, 0.5), 5000);
  assert.ok(reconnectDelay(3, 0) < reconnectDelay(3, 1));
  assert.ok(reconnectDelay(50, 1) <= 6250);
});
