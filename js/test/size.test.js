/** The bar of the module's size: 5 KB, minified and gzipped. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { gzipSync } from "node:zlib";

import { buildSync } from "esbuild";

const MODULE = fileURLToPath(new URL("../triopoll.js", import.meta.url));

test("the module is one file without imports, of at most 5 KB", (t) => {
  const options = { bundle: true, minify: true, format: "esm", write: false, metafile: true };
  const { outputFiles, metafile } = buildSync({ entryPoints: [MODULE], ...options });
  assert.equal(Object.keys(metafile.inputs).length, 1);
  const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
  t.diagnostic(`${size} bytes`);
  assert.ok(size <= 5000, `${size} bytes`);
});

test("the package has the version of its manifest and no dependencies", () => {
  const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url)));
  assert.equal(manifest.dependencies, undefined);
  for (const file of manifest.files) readFileSync(new URL(`../${file}`, import.meta.url));
});
