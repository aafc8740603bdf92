// What both clients' scripts share: reading the job, and values that JSON lacks.

export async function readJob() {
  const pieces = [];
  for await (const piece of process.stdin) pieces.push(piece);
  return JSON.parse(Buffer.concat(pieces));
}

// One outcome for each event: null, or what went wrong with it.
export function report(outcomes) {
  process.stdout.write(JSON.stringify(outcomes));
}

// {"$buffer": hex} and {"$date": milliseconds} stand for what JSON does not have.
export function revive(value) {
  if (Array.isArray(value)) return value.map(revive);
  if (value === null || typeof value !== "object") return value;
  if ("$buffer" in value) return Buffer.from(value.$buffer, "hex");
  if ("$date" in value) return new Date(value.$date);
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, revive(inner)]),
  );
}
