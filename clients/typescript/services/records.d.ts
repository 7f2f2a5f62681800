// Made of the declarations by `make clients`: edit those.

import type { Call, Change, Core, File, StreamEvent, Write } from "../core.js";
import type { Download, Pages } from "../service.js";
import type { Batch, BatchAnswer, Collection, CollectionChange, DeleteMany, DocumentPage, FileLink, FindQuery, FinishUpload, Groups, NewCollection, NewFileLink, NewUpload, PendingUpload, Pipeline, PipelineAnswer, RecordData, RuleExplanation, RuleQuestion, Run, Steps, UpdateMany } from "../types.js";

export interface Records {
  /**
   * Run a pipeline in MongoDB's language over what the caller may see of the records.
   *
   * It reads what the first `$match` leaves, up to 10,000 records or 16 MiB: more is 422.
   *
   * `POST /v1/collections/{collection}/records:aggregate`
   */
  aggregateDocuments(collection: string, pipeline: Pipeline, options?: Call): Promise<PipelineAnswer>;
  /**
   * Count, sum and group. Reads every record that passes, under the budget of a scan.
   *
   * `GET /v1/collections/{collection}/records:aggregate`
   */
  aggregate(collection: string, options?: { filter?: string; group?: string; sum?: string; avg?: string; min?: string; max?: string; } & Call): Promise<Groups>;
  /**
   * Create, update, upsert and delete up to 1,000 records: all of them, or none.
   *
   * The body has at most 8 MiB, and so have the records together that it changes. A unique value
   * may go from one record to another: what counts is how they are after all of it. Each is judged
   * by itself; one that the caller may not view is answered with null.
   *
   * `POST /v1/collections/{collection}/records:batch`
   */
  batch(collection: string, batch: Batch, options?: Write): Promise<BatchAnswer>;
  /**
   * Create, update, upsert and delete up to 1,000 records of any collections: all, or none.
   *
   * Each step is judged as if it were made alone after the earlier ones: its rules see the rows of
   * those. What is wrong names its step. What the caller may not view is answered with null.
   *
   * `POST /v1/records:batch`
   */
  batchSteps(batch: Steps, options?: Write): Promise<BatchAnswer>;
  /**
   * Ask where to send a file for a file field: the store itself, or the platform.
   *
   * Refused to those who may not change the field, and where the file would be too large. Until it
   * is finished no record has it.
   *
   * `POST /v1/collections/{collection}/records/{record_id}/files/{field}:begin_upload`
   */
  beginUpload(collection: string, recordId: string, field: string, given: NewUpload, options?: Write): Promise<PendingUpload>;
  /**
   * End a run after the page that it is at. What it has done stays.
   *
   * `POST /v1/record_runs/{id}:cancel`
   */
  cancelRun(id: string, options?: Write): Promise<Run>;
  /**
   * Create a collection: its fields, access rules and indexes.
   *
   * `POST /v1/collections`
   */
  createCollection(given: NewCollection, options?: Write): Promise<Collection>;
  /**
   * Create a record, with its files where it is sent as a form.
   *
   * The collection's schema says what it holds. Callers without the scope `records:write` need a
   * create rule that lets this record in. `Location` names it, and who may view it is shown it.
   *
   * `id` may be chosen: `rec_` and a UUIDv7, as TypeIDs are written. Its moment becomes
   * `created_at`. One that a record has, or has had, is 409.
   *
   * `POST /v1/collections/{collection}/records`
   */
  create<T = RecordData>(collection: string, body: RecordData, options?: Write): Promise<T | undefined>;
  /**
   * Delete a collection and its records. Refused while another collection points at it.
   *
   * `DELETE /v1/collections/{name}`
   */
  deleteCollection(name: string, options?: Change): Promise<undefined>;
  /**
   * Delete a record.
   *
   * What points at it goes with it, lets go of it, or keeps it, as its relation's `on_delete` says
   * (`restrict` where it says nothing): all in one commit, of up to 1,000 records.
   *
   * `DELETE /v1/collections/{collection}/records/{id}`
   */
  delete(collection: string, id: string, options?: Change): Promise<undefined>;
  /**
   * Delete the records that pass a filter, each as by itself: rules, cascades, files, events.
   *
   * Of those that the caller may list, the ones that they may delete; the others are `skipped`. Up
   * to 500 are deleted in one commit, all or none. More take a run (202): see `get_run`.
   *
   * `POST /v1/collections/{collection}/records:delete`
   */
  deleteRecords(collection: string, many: DeleteMany, options?: Write): Promise<Run>;
  /**
   * Tell whether a caller may do something, and by which part of which rule. Nothing is done.
   *
   * It shows what the rules ask of any record, caller and related record: whoever may change rules
   * can find out all of that with it.
   *
   * `POST /v1/collections/{collection}/records:explain`
   */
  explainRule(collection: string, question: RuleQuestion, options?: Write): Promise<RuleExplanation>;
  /**
   * Download the records that a list with this filter shows, in the order of their ids.
   *
   * It is written page by page, by the rules of the moment, however many they are. One that is cut
   * off goes on with `after`.
   *
   * `GET /v1/collections/{collection}/records:export`
   */
  export(collection: string, options?: { format?: "csv" | "json" | "ndjson"; filter?: string; fields?: string; after?: string; escape_formulas?: boolean; } & Call): Download;
  /**
   * Find records in MongoDB's language, where the collection has `documents`.
   *
   * Each is a document as the caller may see it, its `_id` beside its `id`. In the order of the
   * ids a page begins after `cursor`, and one that looked at 10,000 records ends early. A sort
   * reads all that pass: where they are more than 10,000, or 16 MiB, it is 422.
   *
   * `POST /v1/collections/{collection}/records:find`
   */
  findDocuments(collection: string, find?: FindQuery, options?: Call): Promise<DocumentPage>;
  /**
   * Put what was sent into the file field, as an upload does.
   *
   * Only whoever began it may, once, while they may change the field. Size and checksum are
   * compared with what was announced, and its first bytes say what it is.
   *
   * `POST /v1/collections/{collection}/records/{record_id}/files/{field}:finish_upload`
   */
  finishUpload<T = RecordData>(collection: string, recordId: string, field: string, finish: FinishUpload, options?: Write): Promise<T | undefined>;
  /**
   * Return a collection.
   *
   * `GET /v1/collections/{name}`
   */
  getCollection(name: string, options?: Call): Promise<Collection>;
  /**
   * Download the file of a record, or a range of it, to whoever may view the record.
   *
   * It is an attachment, or shown where its field is `inline` and a browser can show it safely.
   *
   * `GET /v1/collections/{collection}/records/{record_id}/files/{field}`
   */
  getFile(collection: string, recordId: string, field: string, options?: { download?: boolean; thumb?: string; file?: string; redirect?: boolean; } & Call): Download;
  /**
   * Download the file that a link stands for, or a range of it.
   *
   * `GET /v1/linked_files/{token}`
   */
  getLinkedFile(token: string, options?: Call): Download;
  /**
   * Return a record. One that the caller may not see is not found.
   *
   * `GET /v1/collections/{collection}/records/{id}`
   */
  get<T = RecordData>(collection: string, id: string, options?: { fields?: string; expand?: string; } & Call): Promise<T>;
  /**
   * Tell how far a run has come, to whoever started it and to those with `records:write`.
   *
   * `GET /v1/record_runs/{id}`
   */
  getRun(id: string, options?: Call): Promise<Run>;
  /**
   * Download what could not be done, line by line: the first 100,000, as far as it has come.
   *
   * For whoever may see the run, and as long as that is kept.
   *
   * `GET /v1/record_runs/{run_id}/errors`
   */
  getRunReport(runId: string, options?: { format?: "csv" | "ndjson"; } & Call): Download;
  /**
   * Create the records of a file, or upsert them `by` a unique field or `id`, by a run.
   *
   * Each is judged as a call of its own; what keeps one from being written is told with its line.
   *
   * `POST /v1/collections/{collection}/records:import`
   */
  importRecords(collection: string, file: Blob | ArrayBuffer | Uint8Array | ReadableStream | string, options: { format: "csv" | "json" | "ndjson"; by?: string; } & File): Promise<Run>;
  /**
   * Make a link to a file that needs no credentials, and holds for a while.
   *
   * Whoever follows it sees what its maker may see then. It ends with the file, and with its
   * maker's rights.
   *
   * `POST /v1/collections/{collection}/records/{record_id}/files/{field}:link`
   */
  linkFile(collection: string, recordId: string, field: string, given?: NewFileLink, options?: Write): Promise<FileLink>;
  /**
   * List the collections, by name.
   *
   * `GET /v1/collections`
   */
  listCollections(options?: { limit?: number; } & Call): Pages<Collection>;
  /**
   * List the records that pass the filter and that the caller may see.
   *
   * `total=exact` counts all of them under the budget of a scan, `estimate` up to 10,000.
   *
   * A filter or order that no index covers is scanned for under a budget, and refused with
   * `filter_needs_index` and what would help when it goes over: an index, or a smaller range.
   *
   * `q` finds those that have all of its words in fields with `search`, the best first; with
   * `sort=-id`, and for who may not see every record, the newest first. What was written before
   * the call is found.
   *
   * `GET /v1/collections/{collection}/records`
   */
  list<T = RecordData>(collection: string, options?: { limit?: number; filter?: string; sort?: string; fields?: string; expand?: string; total?: "estimate" | "exact"; q?: string; } & Call): Pages<T>;
  /**
   * List the caller's runs, newest first; with `records:write` those of all.
   *
   * `GET /v1/record_runs`
   */
  listRuns(options?: { limit?: number; state?: "cancelled" | "done" | "failed" | "running"; collection?: string; } & Call): Pages<Run>;
  /**
   * Replace every field; one that is left out gets its default, or null. Judged as a PATCH is.
   *
   * Files stay where they are neither sent, in a form, nor emptied.
   *
   * `PUT /v1/collections/{collection}/records/{id}`
   */
  replace<T = RecordData>(collection: string, id: string, body: RecordData, options?: Change): Promise<T | undefined>;
  /**
   * Follow one record that the caller may view, live. Items are those of `records:stream`.
   *
   * `GET /v1/collections/{collection}/records/{id}:stream`
   */
  stream(collection: string, id: string, options?: { after?: string; fields?: string; expand?: string; } & Call): AsyncGenerator<StreamEvent, void, undefined>;
  /**
   * Follow the records that a list with this filter holds for the caller, live.
   *
   * Each item says that a record was `added` to them, `changed` or `removed`, whichever way
   * that came about. `position`, its id, resumes after it, as `Last-Event-ID` or `after`; a
   * list answers `Stream-Position`, from which nothing is missed. The list's rules are asked anew
   * for each change. When what the caller may see changes as a whole, an item of kind `end` says
   * so: read the list again.
   *
   * `GET /v1/collections/{collection}/records:stream`
   */
  streamRecords(collection: string, options?: { after?: string; fields?: string; expand?: string; filter?: string; } & Call): AsyncGenerator<StreamEvent, void, undefined>;
  /**
   * Change fields, rules or indexes; what is left out stays.
   *
   * The collection is answered to those who may read collections, others hear 204.
   *
   * Records that are stored are brought to the new schema in the background, and read under it at
   * once. Refused, with the reason, when what is stored does not allow it. A field that is left out
   * of `fields` is removed: while records have a value in it, only where `confirm` names it.
   *
   * `PATCH /v1/collections/{name}`
   */
  updateCollection(name: string, change: CollectionChange, options?: { confirm?: string; } & Change): Promise<Collection | undefined>;
  /**
   * Change the fields that are sent (RFC 7396); null empties one that may be empty.
   *
   * `$add` adds to numbers, `$append` to lists in json fields, `$remove` takes values out of
   * them: `{"$add": {"stock": -1}}`. Each counts from what the record holds at the commit.
   *
   * An update rule must hold for the record as it is and as it becomes. Who may not view what it
   * becomes is answered 204.
   *
   * `PATCH /v1/collections/{collection}/records/{id}`
   */
  update<T = RecordData>(collection: string, id: string, body: RecordData, options?: Change): Promise<T | undefined>;
  /**
   * Change the records that pass a filter, each as a PATCH with `set` would. As a deletion.
   *
   * `POST /v1/collections/{collection}/records:update`
   */
  updateRecords(collection: string, many: UpdateMany, options?: Write): Promise<Run>;
  /**
   * Put a file into a file field, in the place of the one that was there.
   *
   * The body is the file itself; `Content-Disposition` may name it. It takes what an update takes,
   * and `request.changes` holds the field's name. Its media type is read from its first bytes; the
   * `Content-Type` counts where they do not tell.
   *
   * `POST /v1/collections/{collection}/records/{record_id}/files/{field}`
   */
  uploadFile<T = RecordData>(collection: string, recordId: string, field: string, file: Blob | ArrayBuffer | Uint8Array | ReadableStream | string, options?: File): Promise<T | undefined>;
  /**
   * Send the file of an upload that was begun, where the platform is the store.
   *
   * Whoever has the address may send what was announced, and nothing else.
   *
   * `PUT /v1/pending_uploads/{token}`
   */
  uploadPendingFile(token: string, file: Blob | ArrayBuffer | Uint8Array | ReadableStream | string, options?: File): Promise<undefined>;
  /**
   * Create a record, or change the one that has the same value in a unique field.
   *
   * The create rule judges what is created (201), the update rule what is changed (200); fields that
   * are not sent stay as they are. A record that the caller may neither view nor change is taken for
   * one that is not there, as a create takes it: then the value is taken, or there is no create.
   *
   * `POST /v1/collections/{collection}/records:upsert`
   */
  upsert<T = RecordData>(collection: string, body: RecordData, options: { by: string; } & Write): Promise<T | undefined>;
}

export declare const records: (core: Core) => Records;
