// Made of the declarations by `make clients`: edit those.

import { Core } from "./core.js";
import { users } from "./services/users.js";
import { records } from "./services/records.js";
import { jobs } from "./services/jobs.js";
import { webhooks } from "./services/webhooks.js";
import { events } from "./services/events.js";
import { audit } from "./services/audit.js";

export { answerOf } from "./core.js";
export * from "./errors.js";

export class Client extends Core {
  constructor(options) {
    super(options);
    this.users = users(this);
    this.records = records(this);
    this.jobs = jobs(this);
    this.webhooks = webhooks(this);
    this.events = events(this);
    this.audit = audit(this);
  }
}
