import type { Client } from "./index.js";
import type { About, Core, Storage } from "./core.js";
import { ClientError } from "./errors.js";

/** A write that waits. */
export interface Waiting {
  readonly key: string;
  readonly method: string;
  readonly path: string;
  readonly query?: Record<string, unknown>;
  readonly body?: unknown;
  readonly ifMatch?: string;
  /** Who asked for it; null with an API key. */
  readonly user: string | null;
  readonly addedMs: number;
  /** When it was first on its way. */
  readonly triedMs?: number;
}

/** How far a flush came. With `refused`, nothing goes on until that one is dropped. */
export interface Flushed {
  readonly sent: number;
  readonly left: number;
  readonly error?: ClientError;
  readonly refused?: Waiting;
}

/** A service whose writes wait, and are answered with their keys. */
export type Queued<S> = {
  [M in keyof S]: S[M] extends (...args: infer A) => Promise<any> ? (...args: A) => Promise<string> : never;
};

/** No more than 1,000 writes, or two million characters, can wait. */
export declare class OutboxFull extends ClientError {}

/**
 * It was not sent. `user`: somebody else is logged in. `old`: it was tried a day ago, and the platform
 * does not know its key any more: look whether it was done, then drop it or add it anew.
 */
export declare class Held extends ClientError {
  readonly why: "user" | "old";
}

/**
 * Writes that wait in the storage until the platform can be reached, and then have one effect each,
 * in their order, whatever ends in between: the page, the line or the platform.
 */
export declare class Outbox {
  constructor(client: Core | Client, options: { storage: Storage; name?: string });
  /** Keep a write; resolves to its key once it is in the storage. Throws OutboxFull. */
  add(
    method: string,
    path: string,
    write?: { body?: unknown; query?: Record<string, unknown>; ifMatch?: string; idempotencyKey?: string },
  ): Promise<string>;
  /** `await outbox.of(records).create("posts", post)` */
  of<S>(service: (core: Core) => S): Queued<S>;
  waiting(): Promise<readonly Waiting[]>;
  /** Forget a write. What it did, if it was tried, stays. */
  drop(key: string): Promise<void>;
  /**
   * Send what waits until the end, until the platform cannot be reached, or until one is refused.
   *
   * `onSent` is told of each before it is forgotten, and again if it throws or everything ends there.
   */
  flush(options?: {
    signal?: AbortSignal;
    onSent?: (write: Waiting, answer: About & { readonly data: any }) => void | Promise<void>;
  }): Promise<Flushed>;
}
