// Made of the declarations by `make clients`: edit those.

import { service } from "../service.js";

export const jobs = /* @__PURE__ */ service({
  cancel: "POST /v1/jobs/{id}:cancel",
  create: "POST /v1/jobs b",
  get: "GET /v1/jobs/{id}",
  getQueue: "GET /v1/queues/{name}",
  listDeadLetters: "GET /v1/queues/{queue}/dead p",
  list: "GET /v1/jobs p",
  listQueues: "GET /v1/queues p",
  listSchedules: "GET /v1/schedules p",
  pauseQueue: "POST /v1/queues/{name}:pause",
  redriveDeadLetters: "POST /v1/queues/{queue}/dead:redrive b",
  resumeQueue: "POST /v1/queues/{name}:resume",
  retry: "POST /v1/jobs/{id}:retry",
});
