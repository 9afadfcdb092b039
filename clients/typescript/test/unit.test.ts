import assert from "node:assert/strict";
import { test } from "node:test";

import { Address } from "../src/address.js";
import { checkChannel } from "../src/channels.js";
import { connectBus, isTrunklineError, json, read, text, TrunklineError } from "../src/index.js";
import { encodeMessage } from "../src/message.js";

const reason = (wanted: string) => (error: unknown): boolean => isTrunklineError(error, wanted);

test("addresses", () => {
  for (const good of ["127.0.0.1:7431", "[::1]:7431", "bus.example:1", "tls://bus:7431", "unix:/run/bus.sock", "unix:bus.sock"]) {
    assert.equal(new Address(good).text, good);
  }
  for (const bad of ["", "bus", "bus:", ":7431", "bus:0", "bus:65536", "http://bus:80", "::1:7431", "unix:", `unix:${"x".repeat(108)}`, "a b:1"]) {
    assert.throws(() => new Address(bad), reason("INVALID_ADDRESS"), bad);
  }
});

test("channels", () => {
  const cases: [string, boolean, boolean][] = [
    ["a", true, true], ["a:b-1_.c", true, true], ["a:*", false, true], [">", false, true], ["a:>", false, true], ["", false, false],
    [":", false, false], ["a::b", false, false], ["a:>:b", false, false], ["a b", false, false], ["ä", false, false],
    ["a:b*", false, false], ["x".repeat(256), false, false],
  ];
  for (const [channel, isChannel, isPattern] of cases) {
    for (const [wanted, pattern] of [[isChannel, false], [isPattern, true]] as const) {
      if (wanted) {
        checkChannel(channel, pattern);
      } else {
        assert.throws(() => checkChannel(channel, pattern), reason("INVALID_CHANNEL"), channel);
      }
    }
  }
});

test("messages that cannot be", () => {
  const bad = [
    { priority: 9 as never }, { ttlSeconds: 0 }, { orderingKey: "x".repeat(256) }, { senderId: "\ud800" },
    { payload: { case: "json" as const, value: "\udfff" } }, { timestamp: { nanos: -1 } },
  ];
  for (const each of bad) {
    assert.throws(() => encodeMessage(each, 1000), reason("INVALID_MESSAGE"), JSON.stringify(each));
  }
  assert.throws(() => encodeMessage(json("x".repeat(1000)), 1000), reason("MESSAGE_TOO_LARGE"));
  assert.throws(() => json(undefined), reason("INVALID_MESSAGE"));
  assert.throws(() => read({ ...json({}), payload: { case: "json", value: "{} {}" } }), reason("INVALID_MESSAGE"));
  assert.equal(text({ ...json({}), payload: { case: "json", value: "9007199254740993" } }), "9007199254740993");
});

test("a token never goes over an open network, and a wrong one goes nowhere", async () => {
  await assert.rejects(connectBus("bus.example:7431", { token: "secret" }), (error) => reason("TLS")(error) && !String(error).includes("secret"));
  await assert.rejects(connectBus("127.0.0.1:1", { token: "two words", wait: false }), reason("UNAUTHENTICATED"));
  await assert.rejects(connectBus("127.0.0.1:1", { token: () => Promise.reject(new Error("the vault is closed")), wait: false }), /vault is closed/);
});

test("connecting ends with its signal", async () => {
  const stop = new AbortController();
  const connecting = connectBus("127.0.0.1:1", { signal: stop.signal, connectTimeout: 60_000 });
  stop.abort(new RangeError("enough"));
  await assert.rejects(connecting, RangeError);
});

test("errors say whether to try again", () => {
  assert.equal(new TrunklineError("OVERLOADED", "").retryable, true);
  assert.equal(new TrunklineError("REQUEST_FAILED", "", { retryable: "true" }).retryable, true);
  assert.equal(new TrunklineError("REQUEST_FAILED", "").retryable, false);
  assert.equal(new TrunklineError("INVALID_CHANNEL", "").retryable, false);
});
