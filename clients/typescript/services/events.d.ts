// Made of the declarations by `make clients`: edit those.

import type { Call, Core, StreamEvent } from "../core.js";
import type { Pages } from "../service.js";
import type { Envelope, Json } from "../types.js";

export interface Events {
  /**
   * Return the JSON Schema of an event type's `data`: what `dataschema` points at.
   *
   * `GET /v1/events/schemas/{type}`
   */
  getEventSchema(type: string, options?: Call): Promise<{ [name: string]: Json }>;
  /**
   * Read the feed from a point on. A reader that follows the cursor never misses an event.
   *
   * It holds what the caller may read: the events of types whose scope it has, `records:read` say,
   * and of records those that a view rule shows it.
   *
   * One page reads at most 2,000 events, so a page may be short, or empty, and have a
   * `next_cursor` all the same. Personal fields are null without the scope `events:personal`, as
   * they are for everyone once the person was erased, and `sealedfields` names them.
   *
   * `GET /v1/events`
   */
  list(options?: { after?: string; type?: string; filter?: string; limit?: number; } & Call): Pages<Envelope>;
  /**
   * Follow the feed live. `Last-Event-ID` resumes right after the event it names.
   *
   * The first item is of kind `ready` and has the place the stream starts at as its id, so that a
   * reader which loses its connection before the first event resumes there. A slow reader gets the
   * same events later: nothing is queued for it, the log is read at its pace. What the caller may
   * read is asked again before each event.
   *
   * `GET /v1/events/stream`
   */
  stream(options?: { after?: string; type?: string; filter?: string; } & Call): AsyncGenerator<StreamEvent, void, undefined>;
}

export declare const events: (core: Core) => Events;
