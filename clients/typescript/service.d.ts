import type { Core } from "./core.js";

/** A list: iterate over its items, or over `pages()`. Each page is read when it is wanted. */
export declare class Pages<T> implements AsyncIterable<T> {
  [Symbol.asyncIterator](): AsyncIterator<T>;
  /** The items, a page at a time. */
  pages(): AsyncGenerator<T[], void, undefined>;
  /** One page as it is answered; `cursor` is the `next_cursor` of the one before. */
  page(cursor?: string): Promise<{ items: T[]; next_cursor: string | null }>;
  first(): Promise<T | undefined>;
}

/** A body that is yet to be read: in pieces, or at once. */
export declare class Download implements AsyncIterable<Uint8Array> {
  readonly url: string;
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array>;
  blob(type?: string): Promise<Blob>;
  bytes(): Promise<Uint8Array>;
  text(): Promise<string>;
}

/** Make the methods of a service from its table; service.js says how its lines are read. */
export declare function service(table: Record<string, string>): (core: Core) => any;
