// Sends a job's events with fluent-logger and reports what the client was told.
// The job comes as JSON on stdin, the report goes as JSON to stdout.

import logger from "fluent-logger";
import { readJob, report, revive } from "./job.mjs";

const job = await readJob();
const sender = logger.createFluentSender(job.tag, {
  host: "127.0.0.1",
  port: job.port,
  timeout: 60.0,
  eventMode: job.mode,
  requireAckResponse: job.ack,
  ackResponseTimeout: 60000,
  milliseconds: job.milliseconds,
  flushInterval: 10,
  internalLogger: { info() {}, error() {} },
});
sender.on("error", (error) => {
  // It would connect again after ten minutes.
  report(job.events.map(() => String(error)));
  process.exit(0);
});
const outcomes = await Promise.all(
  job.events.map(
    ({ record, time }) =>
      new Promise((resolve) =>
        sender.emit(revive(record), timeOf(time), (error) =>
          resolve(error ? String(error) : null),
        ),
      ),
  ),
);
await new Promise((resolve) => sender.end(null, null, resolve));
report(outcomes);

// This client takes numbers as they are, in seconds.
function timeOf({ kind, seconds, nanoseconds }) {
  if (kind === "EventTime") return new logger.EventTime(seconds, nanoseconds);
  if (kind === "number") return seconds;
  return new Date(seconds * 1000 + Math.floor(nanoseconds / 1e6));
}
