// Made of the declarations by `make clients`: edit those.

import type { Call, Core } from "../core.js";
import type { Download, Pages } from "../service.js";
import type { AuditEntry, CheckpointView, ConsistencyProof, InclusionProof } from "../types.js";

export interface Audit {
  /**
   * Stream the whole log with its proofs, for the offline verifier (`mainspring audit verify`).
   *
   * One JSON value a line: header, events byte for byte as they were hashed, milestones, end. Events
   * that the caller may not read are withheld: there by their leaves. The download breaks off when
   * the caller loses the right to it.
   *
   * `GET /v1/audit/export`
   */
  exportLog(options?: Call): Download;
  /**
   * Return a signed checkpoint of the log, at most a second old.
   *
   * `GET /v1/audit/checkpoint`
   */
  getCheckpoint(options?: Call): Promise<CheckpointView>;
  /**
   * Prove that the log at one size begins with the log at a smaller one.
   *
   * `GET /v1/audit/consistency`
   */
  getConsistencyProof(options: { first: number; second?: number; } & Call): Promise<ConsistencyProof>;
  /**
   * Prove that an event is in the log.
   *
   * `GET /v1/audit/proofs/{event_id}`
   */
  getInclusionProof(eventId: string, options?: { size?: number; } & Call): Promise<InclusionProof>;
  /**
   * List events in the order of the log, as they were hashed.
   *
   * `audit:read` shows that something happened: its place, type and hash. What it was is shown to
   * callers who may read the event in the feed.
   *
   * A page may hold fewer than `limit` and still have a `next_cursor`: one page reads at most
   * 5,000 events.
   *
   * `GET /v1/audit/entries`
   */
  listEntries(options?: { limit?: number; type?: string; } & Call): Pages<AuditEntry>;
}

export declare const audit: (core: Core) => Audit;
