// What a call throws: a class per kind of refusal. See errors.d.ts.

export class ClientError extends Error {
  constructor(message, options) {
    super(message, options);
    this.name = new.target.name;
  }
}

export class Unreachable extends ClientError {
  constructor(message, cause, idempotencyKey) {
    super(message, { cause });
    this.idempotencyKey = idempotencyKey;
  }
}

export class StreamEnded extends ClientError {
  constructor(code, detail) {
    super(`${code}: ${detail}`);
    this.code = code;
  }
}

export class ApiError extends ClientError {
  constructor(status, headers, problem) {
    const found = (problem.errors || []).map((each) => `${each.pointer}: ${each.detail}`).join("; ");
    const detail = problem.detail || problem.title || `answered ${status}`;
    super(`${status} ${problem.code || ""}: ${found || detail}`);
    this.status = status;
    this.code = problem.code || "";
    this.detail = detail;
    this.errors = problem.errors || [];
    this.requestId = problem.request_id || headers.get("request-id") || "";
    this.headers = headers;
  }
}

export class BadRequest extends ApiError {}
export class Unauthenticated extends ApiError {}
export class Forbidden extends ApiError {}
export class NotFound extends ApiError {}
export class Conflict extends ApiError {}
export class Gone extends ApiError {}
export class PreconditionFailed extends ApiError {}
export class TooLarge extends ApiError {}
export class Invalid extends ApiError {}
export class RateLimited extends ApiError {}
export class Unavailable extends ApiError {}
export class PositionGone extends Gone {}
export class OutcomeUnknown extends Unavailable {}

const byStatus = {
  400: BadRequest, 401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict, 410: Gone,
  412: PreconditionFailed, 413: TooLarge, 422: Invalid, 429: RateLimited, 503: Unavailable,
};
const byCode = { position_gone: PositionGone, outcome_unknown: OutcomeUnknown };

// A body that is no problem (a proxy's page, say) is not shown.
export const refusal = (status, headers, text) => {
  let problem;
  try {
    problem = JSON.parse(text);
  } catch {
    problem = undefined;
  }
  if (!problem || typeof problem !== "object") problem = {};
  return new (byCode[problem.code] || byStatus[status] || ApiError)(status, headers, problem);
};
