// Made of the declarations by `make clients`: edit those.

import type { Call, Change, Core, Write } from "../core.js";
import type { Pages } from "../service.js";
import type { Delivery, NewWebhook, ReplayStarted, ReplayWindow, RotatedSecret, SentTest, Webhook, WebhookChanges, WebhookWithSecret } from "../types.js";

export interface Webhooks {
  /**
   * Have events sent to a URL, signed with a secret that only this answer shows.
   *
   * Every event whose type and filter match and which the caller may read is sent, in no promised
   * order and at least once: tell repeats by `webhook-id`. What the caller may read is asked again
   * for each event; once it is revoked the endpoint is disabled.
   *
   * `POST /v1/webhooks`
   */
  create(given: NewWebhook, options?: Write): Promise<WebhookWithSecret>;
  /**
   * Remove an endpoint with its deliveries. What waits is not sent any more.
   *
   * `DELETE /v1/webhooks/{id}`
   */
  delete(id: string, options?: Change): Promise<undefined>;
  /**
   * Show what became of one event at an endpoint, with each attempt.
   *
   * `GET /v1/webhooks/{webhook_id}/deliveries/{id}`
   */
  getDelivery(webhookId: string, id: string, options?: Call): Promise<Delivery>;
  /**
   * Show an endpoint. Its secret is not shown again.
   *
   * `GET /v1/webhooks/{id}`
   */
  get(id: string, options?: Call): Promise<Webhook>;
  /**
   * List what was sent to an endpoint, each with its attempts.
   *
   * `GET /v1/webhooks/{webhook_id}/deliveries`
   */
  listDeliveries(webhookId: string, options?: { limit?: number; state?: "delivered" | "failed" | "retrying"; sort?: "-id" | "id"; } & Call): Pages<Delivery>;
  /**
   * List endpoints, oldest first.
   *
   * `GET /v1/webhooks`
   */
  list(options?: { limit?: number; } & Call): Pages<Webhook>;
  /**
   * Send the events of a time again, delivered or not, as far as types and filter match now.
   *
   * They keep their `webhook-id`. Events that wait for a retry are not sent twice.
   *
   * `POST /v1/webhooks/{id}:replay`
   */
  replayEvents(id: string, window: ReplayWindow, options?: Write): Promise<ReplayStarted>;
  /**
   * Send an event again now. A retry that waits is brought forward; else a new one is made.
   *
   * `POST /v1/webhooks/{webhook_id}/deliveries/{id}:retry`
   */
  retryDelivery(webhookId: string, id: string, options?: Write): Promise<Delivery>;
  /**
   * Make a new secret. For 24 h every delivery carries a signature by each of the two.
   *
   * `POST /v1/webhooks/{id}:rotate_secret`
   */
  rotateSecret(id: string, options?: Write): Promise<RotatedSecret>;
  /**
   * Send a `webhooks.endpoint.tested` event to this endpoint alone.
   *
   * `POST /v1/webhooks/{id}:test`
   */
  test(id: string, options?: Write): Promise<SentTest>;
  /**
   * Change an endpoint. Deliveries that wait go to the new URL, or end when it is disabled.
   *
   * Whoever changes where it sends what, or enables it, is whom it acts for from then on: nobody has
   * sent to them what others may read. The endpoint is answered to those who may read endpoints,
   * others hear 204.
   *
   * `PATCH /v1/webhooks/{id}`
   */
  update(id: string, changes: WebhookChanges, options?: Change): Promise<Webhook | undefined>;
}

export declare const webhooks: (core: Core) => Webhooks;
