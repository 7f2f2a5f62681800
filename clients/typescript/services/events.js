// Made of the declarations by `make clients`: edit those.

import { service } from "../service.js";

export const events = /* @__PURE__ */ service({
  getEventSchema: "GET /v1/events/schemas/{type}",
  list: "GET /v1/events p:after",
  stream: "GET /v1/events/stream s",
});
