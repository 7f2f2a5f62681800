// Writes that wait until the platform can be reached, and then have one effect each. See outbox.d.ts.

import { alone, newKey } from "./core.js";
import { ApiError, ClientError, OutcomeUnknown, RateLimited, Unavailable, Unreachable } from "./errors.js";

const ENTRIES_MAX = 1_000;
const CHARS_MAX = 2_000_000; // of all entries together: browsers keep five million for a site
const KEY_GOOD_MS = 23 * 3_600_000; // the platform keeps what a key did for 24 h

// Whatever comes of these later, it is not a refusal of what was asked.
const later = (error) =>
  error instanceof Unreachable || error instanceof Unavailable || error instanceof RateLimited || error instanceof OutcomeUnknown ||
  (error instanceof ApiError && (error.status >= 500 || error.status === 408 || error.status === 401 || error.code === "idempotency_in_flight"));

export class OutboxFull extends ClientError {}

export class Held extends ClientError {
  constructor(why, message) {
    super(message);
    this.why = why;
  }
}

export class Outbox {
  #client;
  #storage;
  #place;

  constructor(client, { storage, name = "outbox" }) {
    this.#client = client;
    this.#storage = storage;
    this.#place = `mainspring.outbox ${client.url} ${name}`;
  }

  async #change(work) {
    return alone(`${this.#place} entries`, this.#client.locks, async () => {
      const text = await this.#storage.getItem(this.#place);
      const entries = text ? JSON.parse(text) : [];
      const after = await work(entries);
      if (after) await this.#storage.setItem(this.#place, JSON.stringify(after));
      return after ?? entries;
    });
  }

  // Resolves when the write is in the storage, so that it survives what comes then.
  async add(method, path, { body, raw, query, ifMatch, idempotencyKey = newKey() } = {}) {
    if (method === "GET" || raw !== undefined) throw new ClientError("only writes can wait, and no files");
    const user = await this.#client.userId();
    const entry = { key: idempotencyKey, method, path, query, body, ifMatch, user, addedMs: Date.now() };
    await this.#change((entries) => {
      if (entries.some((each) => each.key === entry.key)) return undefined; // it waits already
      const after = [...entries, entry];
      if (after.length > ENTRIES_MAX || JSON.stringify(after).length > CHARS_MAX)
        throw new OutboxFull(`${entries.length} writes are waiting: no more than ${ENTRIES_MAX}, or ${CHARS_MAX} characters, can`);
      return after;
    });
    return entry.key;
  }

  // A service whose writes wait, and are answered with their keys.
  of(make) {
    return make({ request: async (...call) => ({ data: await this.add(...call) }) });
  }

  waiting() {
    return this.#change(() => undefined);
  }

  async drop(key) {
    await this.#change((entries) => entries.filter((each) => each.key !== key));
  }

  // Sends what waits, in order, as far as it comes. One at a time, in whichever tab.
  flush({ signal, onSent } = {}) {
    return alone(`${this.#place} flush`, this.#client.locks, async () => {
      for (let sent = 0; ; sent++) {
        const [entry] = await this.waiting();
        if (!entry) return { sent, left: 0 };
        let answer;
        try {
          answer = await this.#send(entry, signal);
        } catch (error) {
          if (!(error instanceof ClientError)) throw error;
          const left = (await this.waiting()).length;
          return later(error) ? { sent, left, error } : { sent, left, error, refused: entry };
        }
        await onSent?.(entry, answer); // before it is forgotten: told again rather than never
        await this.drop(entry.key);
      }
    });
  }

  async #send(entry, signal) {
    const { key, method, path, query, body, ifMatch, user, triedMs } = entry;
    if (user !== (await this.#client.userId())) throw new Held("user", "it was asked by another user than the one who is logged in");
    if (triedMs !== undefined && Date.now() - triedMs > KEY_GOOD_MS)
      throw new Held("old", "it was tried a day ago and nobody knows whether it was done: look, then drop it or add it anew");
    // In the storage before it is on its way: the first try is what the key's day begins with.
    if (triedMs === undefined)
      await this.#change((entries) => entries.map((each) => (each.key === key ? { ...each, triedMs: Date.now() } : each)));
    return this.#client.request(method, path, { query, body, ifMatch, idempotencyKey: key, signal });
  }
}
