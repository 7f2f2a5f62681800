// Made of the declarations by `make clients`: edit those.

import { service } from "../service.js";

export const audit = /* @__PURE__ */ service({
  exportLog: "GET /v1/audit/export d",
  getCheckpoint: "GET /v1/audit/checkpoint",
  getConsistencyProof: "GET /v1/audit/consistency",
  getInclusionProof: "GET /v1/audit/proofs/{event_id}",
  listEntries: "GET /v1/audit/entries p",
});
