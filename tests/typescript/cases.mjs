// The TypeScript client against a platform that listens. `node cases.mjs` is told where it is, in
// JSON on its standard input, plays every case, and prints a line of JSON for each.

import assert from "node:assert/strict";
import { inspect } from "node:util";

const { sdk, url, key, webhook } = JSON.parse(await new Response(process.stdin).text());
const { Client, ApiError, Invalid, NotFound, PreconditionFailed, RateLimited, StreamEnded, Unauthenticated, Unreachable, ClientError, answerOf } =
  await import(`${sdk}/index.js`);
const { Parser } = await import(`${sdk}/sse.js`);
const { verifyWebhook, NotVerified } = await import(`${sdk}/webhooks.js`);

const { Held, Outbox, OutboxFull } = await import(`${sdk}/outbox.js`);
const { records } = await import(`${sdk}/services/records.js`);

const DEADLINE_MS = 20_000;
const made = (more = {}) => new Client({ url, apiKey: key, ...more });
const admin = made();
const collect = async (items, most = Infinity) => {
  const found = [];
  for await (const each of items) if (found.push(each) >= most) break;
  return found;
};
const storage = () => {
  const values = new Map();
  return {
    values,
    getItem: async (name) => values.get(name) ?? null,
    setItem: async (name, value) => void values.set(name, value),
    removeItem: async (name) => void values.delete(name),
  };
};

// A fetch whose first requests go wrong as the faults say; ``seen`` are all of them.
const faulty = (...faults) => {
  const seen = [];
  const fetched = async (target, init) => {
    seen.push({ method: init.method ?? "GET", path: target.slice(url.length), headers: { ...init.headers } });
    const fault = faults.shift();
    return fault ? fault(target, init) : fetch(target, init);
  };
  return Object.assign(fetched, { seen });
};
const unsent = async () => {
  throw new TypeError("the line is dead");
};
const unanswered = async (target, init) => {
  await (await fetch(target, init)).arrayBuffer();
  throw new TypeError("the line died");
};
const answered = (status, headers = {}, body = "") => async () => new Response(body, { status, headers });
const problem = (status, code, headers = {}) =>
  answered(status, { "content-type": "application/problem+json", ...headers }, JSON.stringify({ code, title: code, status }));
// The first bytes of the answer, and then a line that breaks.
const cutAfter = (bytes) => async (target, init) => {
  const response = await fetch(target, init);
  const reader = response.body.getReader();
  let left = bytes;
  const body = new ReadableStream({
    async pull(controller) {
      const { value, done } = left > 0 ? await reader.read() : { done: true };
      if (done) {
        await reader.cancel();
        controller.error(new TypeError("the line broke"));
        return;
      }
      const piece = value.slice(0, left);
      left -= piece.length;
      controller.enqueue(piece);
    },
  });
  return new Response(body, { status: response.status, headers: response.headers });
};

await admin.records.createCollection({
  name: "posts",
  fields: [{ name: "title", type: "text", required: true }, { name: "picture", type: "file" }],
});
const titles = async () => (await collect(admin.records.list("posts", { sort: "title" }))).map((each) => each.title);

const cases = {
  async "records are made, read, changed and deleted"() {
    const post = await admin.records.create("posts", { title: "a" });
    assert.equal(answerOf(post).status, 201);
    const read = await admin.records.get("posts", post.id, { fields: "title" });
    assert.deepEqual(read, { title: "a" });
    const { etag } = answerOf(await admin.records.get("posts", post.id));
    await admin.records.update("posts", post.id, { title: "b" }, { ifMatch: etag });
    await assert.rejects(admin.records.update("posts", post.id, { title: "c" }, { ifMatch: etag }), PreconditionFailed);
    assert.equal(await admin.records.delete("posts", post.id), undefined);
    await assert.rejects(admin.records.get("posts", post.id), (error) => {
      assert.ok(error instanceof NotFound && error.code === "not_found" && error.status === 404);
      assert.match(error.requestId, /./);
      return true;
    });
  },

  async "what is wrong with the input is pointed at"() {
    await assert.rejects(admin.records.create("posts", { titel: "a" }), (error) => {
      assert.ok(error instanceof Invalid && error instanceof ApiError);
      assert.ok(error.errors.some((each) => each.pointer === "/titel"));
      return true;
    });
    assert.throws(() => admin.records.get("posts", ""), ClientError);
    assert.throws(() => admin.records.get("posts", "rec_1", {}, {}), ClientError);
    assert.throws(() => new Client({ url: "http://name:word@host" }), ClientError);
    await assert.rejects(async () => admin.records.get("../users", "x"), NotFound); // one part of the path
  },

  async "a list is read as far as it is wanted"() {
    const made = ["l1", "l2", "l3", "l4", "l5"];
    for (const title of made) await admin.records.create("posts", { title });
    const line = faulty();
    const { records } = new Client({ url, apiKey: key, fetch: line });
    const filter = 'title.startsWith("l")';
    const list = records.list("posts", { filter, limit: 2, sort: "title" });
    assert.deepEqual((await collect(list)).map((each) => each.title), made);
    assert.equal(line.seen.length, 3);
    assert.equal((await list.first()).title, "l1");
    const page = await list.page();
    assert.deepEqual((await list.page(page.next_cursor)).items.map((each) => each.title), ["l3", "l4"]);
    assert.equal(line.seen.length, 6);
    const first = await collect(admin.events.list({ type: "records.record.created", limit: 2 }), 5);
    assert.equal(new Set(first.map((each) => each.id)).size, 5);
  },

  async "one call has one effect, however often it is tried"() {
    const line = faulty(unsent, unanswered);
    const post = await made({ fetch: line }).records.create("posts", { title: "once" });
    assert.equal(answerOf(post).replayed, true);
    assert.equal((await titles()).filter((each) => each === "once").length, 1);
    const keys = line.seen.map((each) => each.headers["Idempotency-Key"]);
    assert.equal(keys.length, 3);
    assert.equal(new Set(keys).size, 1);
    const dead = faulty(unanswered, unsent, unsent);
    const error = await made({ fetch: dead }).records.create("posts", { title: "twice" }).catch((thrown) => thrown);
    assert.ok(error instanceof Unreachable);
    assert.equal(dead.seen.length, 3);
    await admin.records.create("posts", { title: "twice" }, { idempotencyKey: error.idempotencyKey });
    assert.equal((await titles()).filter((each) => each === "twice").length, 1);
  },

  async "it comes again where that helps, and when it is told to"() {
    const line = faulty(answered(502), problem(409, "idempotency_in_flight", { "retry-after": "0" }));
    await made({ fetch: line }).records.create("posts", { title: "again" });
    assert.equal(line.seen.length, 3);
    for (const fault of [problem(429, "rate_limited", { "retry-after": "3600" }), problem(409, "conflict"), problem(500, "internal")]) {
      const once = faulty(fault);
      await assert.rejects(made({ fetch: once }).records.create("posts", { title: "no" }), ApiError);
      assert.equal(once.seen.length, 1);
    }
    const limited = faulty(...Array(9).fill(problem(429, "rate_limited", { "retry-after": "0" })));
    await assert.rejects(made({ fetch: limited }).users.list().first(), RateLimited);
    assert.equal(limited.seen.length, 3);
    const stuck = async (_, { signal }) =>
      new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
    await assert.rejects(made({ fetch: stuck, tries: 1 }).users.getMe({ timeoutMs: 20 }), /20 ms/);
    const elsewhere = faulty(answered(307, { location: "https://elsewhere.example" }));
    await assert.rejects(made({ fetch: elsewhere }).users.getMe(), /led elsewhere/);
    assert.equal(elsewhere.seen.length, 1);
  },

  async "a call that is aborted ends with the reason"() {
    const abort = new AbortController();
    const call = made({ fetch: faulty(problem(503, "unavailable", { "retry-after": "29" })) }).users.getMe({ signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 10);
    await assert.rejects(call, /enough/);
    await assert.rejects(admin.users.getMe({ signal: abort.signal }), /enough/);
  },

  async "a session is renewed once for all who wait, and is over when it is"() {
    await admin.users.create({ email: "ann@example.com", password: "correct horse battery" });
    const shared = storage();
    const lines = [faulty(), faulty()];
    const [one, two] = lines.map((line) => new Client({ url, fetch: line, storage: shared }));
    const user = await one.login("ann@example.com", "correct horse battery");
    assert.equal((await two.users.getMe()).id, user.id);
    const age = (client) => {
      const [[name, text]] = shared.values;
      shared.values.set(name, JSON.stringify({ ...JSON.parse(text), endsMs: 0 }));
      return client;
    };
    age(); // both read it anew
    const tabs = lines.map((line) => new Client({ url, fetch: line, storage: shared }));
    await Promise.all([...Array(4)].flatMap(() => tabs.map((tab) => tab.users.getMe())));
    const renewals = lines.flatMap((line) => line.seen).filter((each) => each.path === "/v1/sessions/refresh");
    assert.equal(renewals.length, 1);
    assert.equal((await one.users.getMe()).id, user.id); // by the tokens it had

    const line = faulty(problem(401, "unauthenticated"));
    const refused = new Client({ url, fetch: line, storage: shared });
    assert.equal((await refused.users.getMe()).id, user.id);
    assert.deepEqual(line.seen.map((each) => each.path), ["/v1/users/me", "/v1/sessions/refresh", "/v1/users/me"]);

    await refused.logout();
    assert.equal(shared.values.size, 0);
    assert.equal(await refused.userId(), null);
    await assert.rejects(two.users.getMe(), Unauthenticated);
    assert.equal(await two.userId(), null);
  },

  async "a session that was ended elsewhere is forgotten"() {
    const shared = storage();
    const client = new Client({ url, storage: shared });
    await client.login("ann@example.com", "correct horse battery");
    await admin.users.disable(await client.userId(), { reason: "test" });
    await assert.rejects(client.users.getMe(), Unauthenticated);
    assert.equal(shared.values.size, 0);
  },

  async "a stream goes on after its last event when it breaks"() {
    const after = (await admin.events.list().page()).position;
    const abort = new AbortController();
    const farewell = answered(200, { "content-type": "text/event-stream" }, ": bye\nretry: 5\n\n");
    const line = faulty(cutAfter(900), farewell, unsent);
    assert.throws(() => admin.events.stream({ after }, {}), ClientError); // two options
    const names = ["s1", "s2", "s3", "s4"];
    const wanted = [];
    for (const title of names) wanted.push((await admin.records.create("posts", { title })).id);
    const followed = made({ fetch: line }).events.stream({ after, type: "records.record.created", signal: abort.signal });
    const found = [];
    for await (const event of followed) {
      found.push(event.json.subject);
      if (found.length === 4) {
        const last = admin.records.create("posts", { title: "s5" });
        const next = await followed.next();
        assert.equal(next.value.json.subject, (await last).id);
        break;
      }
    }
    assert.deepEqual(found, wanted);
    assert.ok(line.seen.length >= 4 && line.seen.at(-1).headers["Last-Event-ID"]);
    const { headers } = await admin.request("GET", "/v1/collections/posts/records", { query: { limit: 1 } });
    const live = admin.records.streamRecords("posts", { after: headers.get("stream-position") });
    await admin.records.create("posts", { title: "s6" });
    assert.equal((await live.next()).value.json.change, "added");
    await admin.records.updateCollection("posts", { rules: { list: "true" } });
    await assert.rejects(live.next(), (error) => error instanceof StreamEnded && error.code === "changed");
    const ended = made().events.stream({ signal: abort.signal });
    setTimeout(() => abort.abort(new Error("enough")), 30);
    await assert.rejects(ended.next(), /enough/);
  },

  async "events are read however they are cut"() {
    const text = "retry: 7\r\n\r\nid: 1\r\nevent: a\r\ndata: é\r\ndata:b\r\n\r\n: c\n\ndata\n\nid: 2\n\n";
    for (const size of [1, 2, 3, 1000]) {
      const parser = new Parser();
      const bytes = new TextEncoder().encode(text);
      const found = [];
      for (let at = 0; at < bytes.length; at += size) found.push(...parser.feed(bytes.slice(at, at + size)));
      assert.deepEqual(found.map(({ data, id, event }) => [data, id, event]), [["é\nb", "1", "a"], ["", "1", undefined]]);
      assert.deepEqual([parser.retryMs, parser.lastId], [7, "2"]);
    }
  },

  async "files go up, and come down whole over lines that break"() {
    const { id } = await admin.records.create("posts", { title: "file" });
    const bytes = crypto.getRandomValues(new Uint8Array(60_000));
    const up = faulty(unanswered);
    const file = new Blob([bytes], { type: "application/octet-stream" });
    const { picture } = await made({ fetch: up }).records.uploadFile("posts", id, "picture", file, { filename: "it's (1).bin" });
    assert.equal(picture.filename ?? picture.name, "it's (1).bin");
    const line = faulty(unsent, cutAfter(20_000), answered(503), cutAfter(10_000));
    const down = await made({ fetch: line, tries: 3 }).records.getFile("posts", id, "picture").bytes();
    assert.ok(Buffer.from(bytes).equals(down));
    assert.equal(line.seen.at(-1).headers.Range, "bytes=30000-");
    await assert.rejects(admin.records.getFile("posts", "rec_nobody", "picture").text(), NotFound);
    const native = async (target, init) => {
      const response = await fetch(target, init); // as React Native's: no streams
      return { status: response.status, headers: response.headers, text: () => response.text(), arrayBuffer: () => response.arrayBuffer() };
    };
    assert.ok(Buffer.from(bytes).equals(await made({ fetch: native }).records.getFile("posts", id, "picture").bytes()));
    await assert.rejects(made({ fetch: native }).events.stream().next(), /no streams/);
  },

  async "a webhook is from who has the secret"() {
    const { secret, headers, body, now_ms: nowMs } = webhook;
    const told = { nowMs };
    assert.deepEqual(await verifyWebhook(secret, headers, body, told), JSON.parse(body));
    const bytes = new TextEncoder().encode(body);
    assert.ok(await verifyWebhook(["whsec_b3RoZXI=", secret], new Headers(headers), bytes, told));
    for (const [wrong, given, text, options] of [
      ["whsec_b3RoZXI=", headers, body, told],
      [secret, headers, body + " ", told],
      [secret, headers, body, { nowMs: nowMs + 301_000 }],
      [secret, { ...headers, "webhook-id": "other" }, body, told],
      [secret, {}, body, told],
      ["no", headers, body, told],
    ])
      await assert.rejects(verifyWebhook(wrong, given, text, options), NotVerified);
  },

  async "writes that wait are sent in order, with one effect each"() {
    const kept = storage();
    const offline = made({ fetch: faulty(unsent, unsent, unsent) });
    const before = new Outbox(offline, { storage: kept });
    const posts = before.of(records);
    for (const title of ["w1", "w2", "w3"]) await posts.create("posts", { title });
    assert.deepEqual((await before.waiting()).map((each) => each.body.title), ["w1", "w2", "w3"]);
    const away = await before.flush();
    assert.deepEqual([away.sent, away.left, away.refused], [0, 3, undefined]);
    assert.ok(away.error instanceof Unreachable);

    const half = new Outbox(made({ fetch: faulty(undefined, unanswered), tries: 1 }), { storage: kept });
    assert.equal((await half.flush()).sent, 1);

    const told = [];
    const after = [1, 2].map(() => new Outbox(admin, { storage: kept })); // two tabs
    const onSent = ({ body }, { replayed }) => void told.push([body.title, replayed]);
    await Promise.all(after.map((each) => each.flush({ onSent })));
    assert.deepEqual(told, [["w2", true], ["w3", false]]);
    assert.deepEqual(await after[0].waiting(), []);
    const found = await collect(admin.records.list("posts", { filter: 'title.startsWith("w")', sort: "id" }));
    assert.deepEqual(found.map((each) => each.title), ["w1", "w2", "w3"]);
  },

  async "a write that is refused holds those behind it until it is dropped"() {
    const outbox = new Outbox(admin, { storage: storage() });
    await outbox.add("POST", "/v1/collections/posts/records", { body: { titel: "v1" } });
    await outbox.add("POST", "/v1/collections/posts/records", { body: { title: "v2" }, idempotencyKey: "v2" });
    await outbox.add("POST", "/v1/collections/posts/records", { body: { title: "v2" }, idempotencyKey: "v2" });
    const flushed = await outbox.flush();
    assert.deepEqual([flushed.sent, flushed.left], [0, 2]);
    assert.ok(flushed.error instanceof Invalid);
    await outbox.drop(flushed.refused.key);
    await assert.rejects(outbox.flush({ onSent: () => Promise.reject(new Error("not kept")) }), /not kept/);
    const answers = [];
    assert.equal((await outbox.flush({ onSent: (_, answer) => void answers.push(answer.replayed) })).sent, 1);
    assert.deepEqual(answers, [true]); // told again rather than never
    assert.equal((await titles()).filter((each) => each === "v2").length, 1);
    await assert.rejects(outbox.add("GET", "/v1/users/me"), ClientError);
    const full = outbox.add("POST", "/v1/jobs", { body: "x".repeat(2_000_000) });
    await assert.rejects(full, OutboxFull);
  },

  async "a write that waited too long, or for somebody else, is held"() {
    const kept = storage();
    const outbox = new Outbox(made({ fetch: faulty(unsent), tries: 1 }), { storage: kept });
    const key = await outbox.add("POST", "/v1/collections/posts/records", { body: { title: "u1" } });
    await outbox.flush();
    const [[place, text]] = kept.values;
    const [entry] = JSON.parse(text);
    assert.ok(entry.triedMs <= Date.now());
    const aged = (more) => kept.values.set(place, JSON.stringify([{ ...entry, ...more }]));
    aged({ triedMs: Date.now() - 24 * 3_600_000 });
    let { error, refused } = await outbox.flush();
    assert.ok(error instanceof Held && error.why === "old" && refused.key === key);
    aged({ user: "user_other" });
    ({ error } = await outbox.flush());
    assert.ok(error instanceof Held && error.why === "user");
    aged({ addedMs: 0, triedMs: undefined }); // it never left: however long it waited
    assert.equal((await outbox.flush()).sent, 1);
  },

  async "nothing shows the key"() {
    const shown = inspect(admin, { depth: 9, showHidden: true }) + JSON.stringify(admin);
    assert.ok(!shown.includes(key));
    const error = await made({ fetch: unsent }).users.getMe().catch((thrown) => thrown);
    assert.ok(!inspect(error, { depth: 9, showHidden: true }).includes(key));
  },
};

for (const [name, play] of Object.entries(cases)) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("not done in time")), DEADLINE_MS).unref());
  const began = performance.now();
  const error = await Promise.race([play(), late]).then(() => null, (thrown) => thrown?.stack ?? String(thrown));
  console.log(JSON.stringify({ name, error, ms: Math.round(performance.now() - began) }));
}
process.exit(0);
