// What every call goes through: requests, tries, tokens, pages, streams. See core.d.ts.

import { ClientError, StreamEnded, Unauthenticated, Unreachable, refusal } from "./errors.js";
import { Parser } from "./sse.js";

const FIRST_PAUSE_MS = 250;
const PAUSE_MS_MAX = 30_000; // an answer that asks for a longer wait is the caller's to wait for
const RENEW_BEFORE_MS = 30_000; // an access token with less left is renewed before it is used
const SILENT_MS = 60_000; // a stream says something every 15 s; one that does not is opened anew
const FOLLOW_TRIES = 10; // in a row, of a stream that breaks off
const AGAIN = [408, 429, 502, 503, 504];
const AWAY = [502, 503, 504];

// Thrown and caught in here: the connection could not be made, or broke, or the time was up.
class Broken extends Error {}

const unreachable = (method, path, { message, cause }, tries, key) =>
  new Unreachable(`${method} ${path}: ${message} (${tries} tries)`, cause, key);

const answers = new WeakMap();
export const answerOf = (value) => answers.get(value);

const kept = () => {
  const values = new Map();
  return {
    getItem: (name) => values.get(name) ?? null,
    setItem: (name, value) => void values.set(name, value),
    removeItem: (name) => void values.delete(name),
  };
};

// One at a time in this page or process; where there are Web Locks, across its tabs.
const waiting = new Map();
export const alone = async (name, locks, work) => {
  if (locks) return locks.request(name, work);
  const before = waiting.get(name);
  const mine = (async () => {
    await before?.catch(() => {});
    return work();
  })();
  waiting.set(name, mine);
  try {
    return await mine;
  } finally {
    if (waiting.get(name) === mine) waiting.delete(name);
  }
};

export const newKey = () =>
  crypto.randomUUID?.() ?? // absent in pages without TLS
  Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

const pauseMs = (number) => Math.random() * Math.min(FIRST_PAUSE_MS * 2 ** (number - 1), PAUSE_MS_MAX);

const sleep = (ms, signal) =>
  new Promise((resolve, reject) => {
    signal?.throwIfAborted?.();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });

const retryAfterMs = (header) => {
  if (!header) return undefined;
  const ms = /^\d+$/.test(header) ? header * 1000 : Date.parse(header) - Date.now();
  return ms >= 0 ? ms : Number.isNaN(ms) ? undefined : 0;
};

export const asked = (query = {}) => {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value])
      .filter((each) => each !== undefined && each !== null)
      .map((each) => `${encodeURIComponent(name)}=${encodeURIComponent(each instanceof Date ? each.toISOString() : each)}`),
  );
  return pairs.length ? `?${pairs.join("&")}` : "";
};

// ``alive`` is told of each piece. Throws Broken where the connection does.
const piecesOf = async function* ({ response, alive }) {
  const reader = response.body?.getReader?.();
  const attempt = async (read) => {
    try {
      return await read();
    } catch (error) {
      throw new Broken(error.message, { cause: error });
    }
  };
  if (!reader) {
    // React Native's has no streams
    yield new Uint8Array(await attempt(() => response.arrayBuffer()));
    return;
  }
  try {
    for (;;) {
      const { done, value } = await attempt(() => reader.read());
      alive();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {}); // of what broke already, there is nothing to cancel
  }
};

export class Core {
  #apiKey;
  #session; // undefined: not read from the storage yet
  #renewing;
  #options;

  constructor(options = {}) {
    const { url, apiKey, tries = 3, timeoutMs = 30_000 } = options;
    if (!/^https?:\/\/[^/?#@]+(\/[^?#]*)?$/.test(url ?? ""))
      throw new ClientError("url is no platform's address: it looks like https://api.example.com");
    this.url = url.replace(/\/+$/, "");
    this.#apiKey = apiKey;
    this.#options = {
      fetch: (...args) => fetch(...args),
      locks: globalThis.navigator?.locks,
      storage: kept(),
      ...options,
      tries,
      timeoutMs,
    };
  }

  get locks() {
    return this.#options.locks;
  }

  // Sessions

  get #place() {
    return `mainspring.session ${this.url}`;
  }

  async #stored() {
    const text = await this.#options.storage.getItem(this.#place);
    return text ? JSON.parse(text) : null;
  }

  async #now() {
    if (this.#session === undefined) this.#session = await this.#stored();
    return this.#session;
  }

  async use(tokens) {
    const { access_token: access, refresh_token: refresh, expires_in, session_id: id, user } = tokens;
    this.#session = { access, refresh, id, user: user.id, endsMs: Date.now() + expires_in * 1000 };
    await this.#options.storage.setItem(this.#place, JSON.stringify(this.#session));
    return user;
  }

  async login(email, password) {
    const body = { email, password };
    return this.use((await this.request("POST", "/v1/sessions", { body, anonymous: true })).data);
  }

  async logout() {
    const session = await this.#now();
    if (!session) return;
    try {
      await this.request("DELETE", `/v1/sessions/${session.id}`);
    } catch (error) {
      if (!(error instanceof Unauthenticated)) throw error; // it is over already
    }
    await this.#forget(session);
  }

  async #forget(session) {
    if ((await this.#stored())?.id === session.id) await this.#options.storage.removeItem(this.#place);
    this.#session = null;
  }

  async userId() {
    return (await this.#now())?.user ?? null;
  }

  async #credential() {
    let session = await this.#now();
    if (session && Date.now() > session.endsMs - RENEW_BEFORE_MS) {
      await this.#renew(session.refresh);
      session = this.#session;
    }
    return session ?? { access: this.#apiKey };
  }

  // One flight for all calls of this client, and in turn for all tabs that share the storage.
  #renew(seen) {
    this.#renewing ??= alone(this.#place, this.#options.locks, async () => {
      const stored = await this.#stored();
      if (!stored) {
        this.#session = null; // logged out, in another tab perhaps
        return;
      }
      this.#session = stored;
      if (stored.refresh !== seen) return; // another tab was first
      const body = { refresh_token: stored.refresh };
      try {
        await this.use((await this.request("POST", "/v1/sessions/refresh", { body, anonymous: true })).data);
      } catch (error) {
        if (error instanceof Unauthenticated) await this.#forget(stored);
        throw error;
      }
    }).finally(() => {
      this.#renewing = undefined;
    });
    return this.#renewing;
  }

  // Calls

  async request(method, path, call = {}) {
    const { query, body, raw, signal, anonymous } = call;
    const { tries, timeoutMs, headers: always } = this.#options;
    const headers = { Accept: "application/json, */*;q=0.5", ...always, ...call.headers };
    if (body !== undefined) headers["Content-Type"] ??= "application/json";
    if (call.ifMatch) headers["If-Match"] = call.ifMatch;
    if (method !== "GET") headers["Idempotency-Key"] = call.idempotencyKey ?? newKey();
    const init = { method, headers, body: body === undefined ? raw : JSON.stringify(body), redirect: "manual" };
    const once = typeof raw?.getReader === "function"; // a stream is read once
    if (once) init.duplex = "half";
    let renewed = once;
    for (let number = 1; ; number++) {
      const { access, refresh } = anonymous ? {} : await this.#credential();
      const last = once || number >= (call.tries ?? tries);
      let response, text;
      try {
        [response, text] = await this.#sent(path + asked(query), init, access, signal, call.timeoutMs ?? timeoutMs);
      } catch (error) {
        if (!(error instanceof Broken)) throw error;
        if (last) throw unreachable(method, path, error, number, headers["Idempotency-Key"]);
        await sleep(pauseMs(number), signal);
        continue;
      }
      const { status } = response;
      if (status >= 200 && status < 300) return this.#answer(response, text);
      if (status < 400) throw new ClientError(`${method} ${path}: led elsewhere: give the address itself as url`);
      const refused = refusal(status, response.headers, text);
      if (status === 401 && !renewed && refresh) {
        renewed = true;
        number--;
        await this.#renew(refresh);
        continue;
      }
      const later = AGAIN.includes(status) || refused.code === "idempotency_in_flight";
      const asksMs = retryAfterMs(response.headers.get("retry-after"));
      if (!later || last || asksMs > PAUSE_MS_MAX) throw refused;
      await sleep(asksMs === undefined ? pauseMs(number) : asksMs + Math.random() * FIRST_PAUSE_MS, signal);
    }
  }

  #answer(response, text) {
    const { status, headers } = response;
    const data = text ? JSON.parse(text) : undefined;
    const about = {
      status,
      etag: headers.get("etag") ?? undefined,
      requestId: headers.get("request-id") ?? undefined,
      replayed: headers.get("idempotency-replayed") === "true",
    };
    if (data && typeof data === "object") answers.set(data, about);
    return { ...about, headers, data };
  }

  async #sent(target, init, access, signal, ms) {
    const opened = await this.#opened(target, init, access, signal, ms);
    try {
      return [opened.response, await opened.response.text()];
    } catch (error) {
      if (signal?.aborted) throw signal.reason;
      throw new Broken(error.message, { cause: error });
    } finally {
      opened.over();
    }
  }

  // The body is yet to be read: ``alive`` starts its time anew, ``over`` ends the wait.
  async #opened(target, init, access, signal, ms) {
    if (signal?.aborted) throw signal.reason;
    const abort = new AbortController();
    const stop = () => abort.abort(signal.reason);
    signal?.addEventListener("abort", stop, { once: true });
    let timer;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(new Error(`nothing came within ${ms} ms`)), ms);
    };
    const over = () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    };
    alive();
    const headers = access ? { ...init.headers, Authorization: `Bearer ${access}` } : init.headers;
    try {
      const response = await this.#options.fetch(this.url + target, { ...init, headers, signal: abort.signal });
      return { response, alive, over, end: () => (over(), abort.abort()) };
    } catch (error) {
      over();
      if (signal?.aborted) throw signal.reason;
      throw new Broken(error.cause?.message ?? error.message, { cause: error });
    }
  }

  // What is read piece by piece

  async *follow(path, query, { signal } = {}) {
    let lastId, renew;
    let failures = 0;
    for (;;) {
      const parser = new Parser(lastId);
      const headers = { Accept: "text/event-stream", ...(lastId && { "Last-Event-ID": lastId }) };
      let ended = false; // by the platform, to be opened again as who the caller is by then
      let opened;
      try {
        opened = await this.#reading(path + asked(query), headers, renew, signal, SILENT_MS);
        if (opened.stale) ended = true;
        else if (!opened.response.body?.getReader)
          throw new ClientError("this fetch has no streams: give one that has, as options.fetch");
        else
          for await (const piece of piecesOf(opened))
            for (const event of parser.feed(piece)) {
              failures = 0;
              if (event.event === "end") {
                const { end, detail } = event.json;
                if (end !== "unauthenticated") throw new StreamEnded(end, detail);
                ended = true;
              } else {
                renew = false;
                if (event.event !== "ready") yield event;
              }
            }
        renew ||= ended;
        if (!ended && parser.retryMs === undefined) return;
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (!(error instanceof Broken)) throw error;
        if (++failures > FOLLOW_TRIES) throw unreachable("GET", path, error, failures);
      } finally {
        opened?.end();
        lastId = parser.lastId;
      }
      const { retryMs } = parser; // with jitter, for those who were told with us
      await sleep(retryMs === undefined ? pauseMs(failures || 1) : retryMs * (1 + Math.random()), signal);
    }
  }

  async *download(path, query, { signal } = {}) {
    const { timeoutMs, tries } = this.#options;
    let readBytes = 0;
    let failures = 0;
    let etag, renew;
    for (;;) {
      const headers = readBytes ? { Range: `bytes=${readBytes}-`, "If-Range": etag } : {};
      let opened;
      try {
        opened = await this.#reading(path + asked(query), headers, renew, signal, timeoutMs);
        const { response, stale } = opened;
        if (stale) {
          renew = true;
          continue;
        }
        if (readBytes && response.status !== 206)
          throw new ClientError("the connection broke off, and the file is another one now");
        etag = response.headers.get("content-encoding") ? undefined : response.headers.get("etag");
        for await (const piece of piecesOf(opened)) {
          readBytes += piece.length;
          failures = 0;
          yield piece;
        }
        return;
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (!(error instanceof Broken)) throw error;
        if (++failures >= tries || (readBytes && !etag?.startsWith('"')))
          throw unreachable("GET", path, error, failures);
      } finally {
        opened?.end();
      }
      await sleep(pauseMs(failures), signal);
    }
  }

  // ``stale``: the session was not good any more, and may be renewed.
  async #reading(target, more, renew, signal, ms) {
    let { access, refresh } = await this.#credential();
    if (renew && refresh) {
      await this.#renew(refresh);
      ({ access, refresh } = await this.#credential());
    }
    const headers = { ...this.#options.headers, ...more };
    const opened = await this.#opened(target, { headers, cache: "no-store" }, access, signal, ms);
    const { status } = opened.response;
    if (status < 400) return opened;
    const text = await opened.response.text().catch(() => "");
    opened.end();
    if (AWAY.includes(status)) throw new Broken(`answered ${status}`);
    if (status === 401 && refresh && !renew) return { ...opened, stale: true };
    throw refusal(status, opened.response.headers, text);
  }
}
