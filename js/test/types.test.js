/** The declarations are valid, and say what the module exports. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

import * as module from "../triopoll.js";

const at = (path) => fileURLToPath(new URL(path, import.meta.url));

test("a program that uses the interface passes the type checker", () => {
  const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext"];
  const command = [at("../node_modules/typescript/bin/tsc"), ...options, at("usage.ts")];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, { encoding: "utf-8" });
  assert.equal(status, 0, stdout + stderr);
});

test("the module exports the classes that are declared, with their methods", () => {
  assert.deepEqual(Object.keys(module).sort(), ["Triopoll", "TriopollError"]);
  const methods = ["messages", "subscribe", "state", "ack", "event", "poll", "close"];
  const given = Object.getOwnPropertyNames(module.Triopoll.prototype);
  assert.deepEqual(given.filter((name) => name !== "constructor").sort(), methods.sort());
});
