// Sends a job's events with @fluent-org/logger and reports what the client was told.
// The job comes as JSON on stdin, the report goes as JSON to stdout.

import logger from "@fluent-org/logger";
import { readJob, report, revive } from "./job.mjs";

const { FluentClient, EventTime } = logger;

const job = await readJob();
const client = new FluentClient(job.tag, {
  eventMode: job.mode,
  ack: job.ack ? { ackTimeout: 60000 } : undefined,
  milliseconds: job.milliseconds,
  socket: { host: "127.0.0.1", port: job.port, timeout: 60000, disableReconnect: true },
  disconnect: { waitForPending: true, waitForPendingDelay: 60000 },
});
await client.connect();
const outcomes = await Promise.allSettled(
  job.events.map(({ record, time }) =>
    client.emit(revive(record), timeOf(time)),
  ),
);
await client.shutdown();
report(
  outcomes.map(({ status, reason }) =>
    status === "fulfilled" ? null : String(reason),
  ),
);

// This client takes numbers as milliseconds.
function timeOf({ kind, seconds, nanoseconds }) {
  const milliseconds = seconds * 1000 + Math.floor(nanoseconds / 1e6);
  if (kind === "EventTime") return new EventTime(seconds, nanoseconds);
  return kind === "Date" ? new Date(milliseconds) : milliseconds;
}
