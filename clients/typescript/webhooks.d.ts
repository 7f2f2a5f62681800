import { ClientError } from "./errors.js";

/** It is not from who has the secret, or too old: do nothing, and answer 400. */
export declare class NotVerified extends ClientError {}

/**
 * Return what a webhook tells: the event. `body` is as it came, before it was read.
 *
 * Give all secrets that are good while one is rotated. What comes twice bears the same
 * `webhook-id`. Throws NotVerified.
 */
export declare function verifyWebhook(
  secret: string | readonly string[],
  headers: Headers | Record<string, string | string[] | undefined>,
  body: string | ArrayBuffer | Uint8Array,
  options?: { nowMs?: number },
): Promise<any>;
