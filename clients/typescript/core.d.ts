import type { User } from "./types.js";

/** Where sessions and queued writes are kept: `localStorage` and `AsyncStorage` fit as they are. */
export interface Storage {
  getItem(name: string): string | null | Promise<string | null>;
  setItem(name: string, value: string): void | Promise<void>;
  removeItem(name: string): void | Promise<void>;
}

/** Web Locks, as `navigator.locks`. */
export interface Locks {
  request<T>(name: string, work: () => Promise<T>): Promise<T>;
}

export interface Options {
  /** Where the platform is: `https://api.example.com`. */
  url: string;
  /** Who calls while nobody is logged in. Not for pages: whoever opens one can read it. */
  apiKey?: string;
  /** How often what may be sent again is tried: 3. */
  tries?: number;
  /** How long one try may take, in milliseconds: 30,000. */
  timeoutMs?: number;
  /** Sent with every call. */
  headers?: Record<string, string>;
  /** Keeps the session; without one it ends with the page or process. Never leave it to others. */
  storage?: Storage;
  fetch?: typeof fetch;
  locks?: Locks;
}

/** What every call takes. What its signal is aborted with is thrown. */
export interface Call {
  signal?: AbortSignal;
  timeoutMs?: number;
  tries?: number;
}

/** What a write takes. Without a key it has one of its own, which each of its tries bears. */
export interface Write extends Call {
  idempotencyKey?: string;
}

/** What a change takes: `ifMatch` is an entity tag, as `answerOf` tells it. */
export interface Change extends Write {
  ifMatch?: string;
}

/** What an upload takes. A `File` tells its own name and type. */
export interface File extends Write {
  mediaType?: string;
  filename?: string;
}

/** What came with an answer. */
export interface About {
  readonly status: number;
  readonly etag?: string;
  readonly requestId?: string;
  /** It is the first answer again, to the same key. */
  readonly replayed: boolean;
}

export interface SessionTokens {
  access_token: string;
  refresh_token: string;
  expires_in: number;
  session_id: string;
  user: User;
}

/** One event of a stream. `id` is where to go on after it; `event` names its kind. */
export interface StreamEvent {
  readonly data: string;
  readonly id?: string;
  readonly event?: string;
  /** What it tells, read as JSON. */
  readonly json: any;
}

/** The client without the services: `records(new Core(options))` takes no more than it uses. */
export declare class Core {
  constructor(options: Options);
  readonly url: string;
  readonly locks?: Locks;
  /** Log in, and call as this user from now on. Throws Unauthenticated. */
  login(email: string, password: string): Promise<User>;
  /** Call with these tokens from now on: the answer of any way to log in. */
  use(tokens: SessionTokens): Promise<User>;
  /** End the session here and on the platform. */
  logout(): Promise<void>;
  /** Who is logged in; null when nobody is. */
  userId(): Promise<string | null>;
  /** Send any request, as the methods of the services do. `body` is sent as JSON, `raw` as it is. */
  request(
    method: string,
    path: string,
    call?: Change & {
      query?: Record<string, unknown>;
      body?: unknown;
      raw?: unknown;
      headers?: Record<string, string>;
      anonymous?: boolean;
    },
  ): Promise<About & { readonly headers: Headers; readonly data: any }>;
  /** Follow a stream over as many connections as it takes, resuming after its last event. */
  follow(path: string, query?: Record<string, unknown>, call?: Call): AsyncGenerator<StreamEvent, void, undefined>;
  /** Read a body in pieces, going on where a connection broke. */
  download(path: string, query?: Record<string, unknown>, call?: Call): AsyncGenerator<Uint8Array, void, undefined>;
}

/** What came with an answer: `answerOf(await client.records.get("posts", id))?.etag`. */
export declare function answerOf(value: object): About | undefined;
export declare function newKey(): string;
/** Run one at a time, in this page and, with locks, in all that share them. */
export declare function alone<T>(name: string, locks: Locks | undefined, work: () => Promise<T>): Promise<T>;
