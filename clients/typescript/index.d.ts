// Made of the declarations by `make clients`: edit those.

import { Core, type Options } from "./core.js";
import type { Users } from "./services/users.js";
import type { Records } from "./services/records.js";
import type { Jobs } from "./services/jobs.js";
import type { Webhooks } from "./services/webhooks.js";
import type { Events } from "./services/events.js";
import type { Audit } from "./services/audit.js";

export { answerOf } from "./core.js";
export type { About, Call, Change, File, Options, SessionTokens, Storage, StreamEvent, Write } from "./core.js";
export * from "./errors.js";
export type { Download, Pages } from "./service.js";
export type * from "./types.js";

/** A platform's client, with a namespace per built-in service. */
export declare class Client extends Core {
  constructor(options: Options);
  /** Users, their sessions, API keys and roles. */
  readonly users: Users;
  /** Records in collections with a schema, access rules, filters and indexes. */
  readonly records: Records;
  /** Durable work outside a call: queues, retries, dead letters. */
  readonly jobs: Jobs;
  /** Events, sent to the URLs of those who asked for them, signed and retried. */
  readonly webhooks: Webhooks;
  /** The feed: every event of the platform, in order, from any point. */
  readonly events: Events;
  /** The audit trail: every event in a verifiable, append-only log. */
  readonly audit: Audit;
}
