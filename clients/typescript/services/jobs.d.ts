// Made of the declarations by `make clients`: edit those.

import type { Call, Core, Write } from "../core.js";
import type { Pages } from "../service.js";
import type { JobInfo, NewJob, Queue, Redrive, Redriven, ScheduleInfo } from "../types.js";

export interface Jobs {
  /**
   * Cancel a job. One that runs is not interrupted, but nothing it staged takes effect.
   *
   * It is answered to those who may read jobs, others hear 204.
   *
   * A job that its service does not declare as public is that service's own affair, such as an
   * erasure: this takes the service's `write` scope too.
   *
   * `POST /v1/jobs/{id}:cancel`
   */
  cancel(id: string, options?: Write): Promise<JobInfo | undefined>;
  /**
   * Have a job done. Where the `unique_key` is in use, answers 200 with the job that has it.
   *
   * That one is shown to those who may read jobs, others hear 204.
   *
   * It runs while its caller may have jobs done: once that key or user is gone, or lost the scope,
   * it is dead instead.
   *
   * `POST /v1/jobs`
   */
  create(given: NewJob, options?: Write): Promise<JobInfo | undefined>;
  /**
   * Show a job: its state, attempts, progress and last error.
   *
   * `GET /v1/jobs/{id}`
   */
  get(id: string, options?: Call): Promise<JobInfo>;
  /**
   * Show a queue.
   *
   * `GET /v1/queues/{name}`
   */
  getQueue(name: string, options?: Call): Promise<Queue>;
  /**
   * List a queue's dead letters: jobs whose last attempt failed.
   *
   * `GET /v1/queues/{queue}/dead`
   */
  listDeadLetters(queue: string, options?: { limit?: number; } & Call): Pages<JobInfo>;
  /**
   * List jobs, oldest first. A filter that would read too much is refused.
   *
   * `GET /v1/jobs`
   */
  list(options?: { limit?: number; queue?: string; state?: "cancelled" | "dead" | "done" | "ready" | "running" | "scheduled"; name?: string; } & Call): Pages<JobInfo>;
  /**
   * List the queues with their depth, latency and throughput.
   *
   * `GET /v1/queues`
   */
  listQueues(options?: Call): Pages<Queue>;
  /**
   * List the schedules that services declare, and when each fires next.
   *
   * `GET /v1/schedules`
   */
  listSchedules(options?: Call): Pages<ScheduleInfo>;
  /**
   * Start no more jobs of a name, in any process. Those that run go on.
   *
   * `POST /v1/queues/{name}:pause`
   */
  pauseQueue(name: string, options?: Write): Promise<Queue>;
  /**
   * Return dead letters to their queue, oldest first, with all their attempts.
   *
   * One whose unique key is held by a job that waits or runs stays dead. Those that callers had
   * done run for you then.
   *
   * `POST /v1/queues/{queue}/dead:redrive`
   */
  redriveDeadLetters(queue: string, batch?: Redrive, options?: Write): Promise<Redriven>;
  /**
   * Start a queue's jobs again.
   *
   * `POST /v1/queues/{name}:resume`
   */
  resumeQueue(name: string, options?: Write): Promise<Queue>;
  /**
   * Run a dead or cancelled job again with all its attempts, or a waiting one now.
   *
   * It is answered to those who may read jobs, others hear 204.
   *
   * One that its service does not declare as public takes the service's `write` scope too. One
   * that a caller had done runs for you then.
   *
   * `POST /v1/jobs/{id}:retry`
   */
  retry(id: string, options?: Write): Promise<JobInfo | undefined>;
}

export declare const jobs: (core: Core) => Jobs;
