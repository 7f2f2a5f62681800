import type { ErrorCode } from "./types.js";

/** Anything that a call throws by itself, but for what its signal was aborted with. */
export declare class ClientError extends Error {}

/**
 * Nobody answered, or the connection broke, as often as it was tried.
 *
 * What a write did is not known: call again with the same `idempotencyKey`.
 */
export declare class Unreachable extends ClientError {
  readonly idempotencyKey?: string;
}

/** The platform ended a stream for good. `changed`: what it shows may be all otherwise, read the list again. */
export declare class StreamEnded extends ClientError {
  readonly code: "changed" | "forbidden" | "gone" | "position_gone" | "filter_needs_index" | (string & {});
}

/** The platform refused. `errors` point at each thing that is wrong with the input. */
export declare class ApiError extends ClientError {
  readonly status: number;
  readonly code: ErrorCode | (string & {});
  readonly detail: string;
  readonly errors: readonly { readonly pointer: string; readonly detail: string }[];
  readonly requestId: string;
  readonly headers: Headers;
}

/** 400: the request could not be read. */
export declare class BadRequest extends ApiError {}
/** 401: nobody is known by this key or token. */
export declare class Unauthenticated extends ApiError {}
/** 403: the caller may not do this. */
export declare class Forbidden extends ApiError {}
/** 404: there is none, or none that the caller may see. */
export declare class NotFound extends ApiError {}
/** 409: it does not fit what is there. */
export declare class Conflict extends ApiError {}
/** 410: it was there. */
export declare class Gone extends ApiError {}
/** 412: it was changed since it was read (`ifMatch`). */
export declare class PreconditionFailed extends ApiError {}
/** 413: the body is larger than the platform takes. */
export declare class TooLarge extends ApiError {}
/** 422: readable input that breaks a rule; `errors` point at each. */
export declare class Invalid extends ApiError {}
/** 429: the caller came too often, and did after every wait. */
export declare class RateLimited extends ApiError {}
/** 503: a part that the call needs is away, and was at every try. */
export declare class Unavailable extends ApiError {}
/** The log does not reach back to this position, or was restored: read anew. */
export declare class PositionGone extends Gone {}
/** A write may have been committed: call again with the same `idempotencyKey`. */
export declare class OutcomeUnknown extends Unavailable {}
