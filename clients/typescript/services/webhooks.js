// Made of the declarations by `make clients`: edit those.

import { service } from "../service.js";

export const webhooks = /* @__PURE__ */ service({
  create: "POST /v1/webhooks b",
  delete: "DELETE /v1/webhooks/{id}",
  getDelivery: "GET /v1/webhooks/{webhook_id}/deliveries/{id}",
  get: "GET /v1/webhooks/{id}",
  listDeliveries: "GET /v1/webhooks/{webhook_id}/deliveries p",
  list: "GET /v1/webhooks p",
  replayEvents: "POST /v1/webhooks/{id}:replay b",
  retryDelivery: "POST /v1/webhooks/{webhook_id}/deliveries/{id}:retry",
  rotateSecret: "POST /v1/webhooks/{id}:rotate_secret",
  test: "POST /v1/webhooks/{id}:test",
  update: "PATCH /v1/webhooks/{id} b",
});
