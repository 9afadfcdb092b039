import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { isTrunklineError, RecordKind, type Change, type SaveValue } from "../src/index.js";
import { folder, limited, PATIENCE, start, state } from "./programs.js";

const timeout = 3 * PATIENCE;
const agent = (agentId: string, status = "idle"): SaveValue => ({ case: "agentState", value: { agentId, agentType: "coding", status } });

test("records are kept with revisions", { timeout }, async (t) => {
  const store = await state(t, (await start(t, "state", "--engine", "memory")).address);
  assert.equal(await store.get(RecordKind.AGENT_STATE, "a"), undefined);
  const revision = await store.save(agent("a"), { expectedRevision: 0n });
  await assert.rejects(store.save(agent("a"), { expectedRevision: 0n }), (error) => isTrunklineError(error, "REVISION_MISMATCH"));
  assert.ok(await store.save(agent("a", "busy"), { expectedRevision: revision }) > revision);
  const found = await store.get(RecordKind.AGENT_STATE, "a");
  assert.ok(found?.value.case === "agentState" && found.value.value.status === "busy");
  await assert.rejects(store.save(agent("")), (error) => isTrunklineError(error, "INVALID_RECORD"));
  assert.equal(await store.delete(RecordKind.AGENT_STATE, "a"), true);
});

test("lists come by pages", { timeout }, async (t) => {
  const store = await state(t, (await start(t, "state", "--engine", "memory")).address);
  await Promise.all(Array.from({ length: 25 }, (_, n) => store.save(agent(`a-${String(n).padStart(2, "0")}`))));
  const page = await store.page(RecordKind.AGENT_STATE, { size: 10 });
  assert.equal(page.records.length, 10);
  assert.notEqual(page.token, "");
  let count = 0;
  for await (const record of store.list(RecordKind.AGENT_STATE, { filter: { status: "idle" } })) {
    assert.equal(record.value.case, "agentState");
    count += 1;
  }
  assert.equal(count, 25);
});

test("a watch outlives its service, and ends with its signal", { timeout }, async (t) => {
  const server = await start(t, "state", "--path", join(await folder(t), "state.db"));
  const store = await state(t, server.address);
  await store.save(agent("a"));
  const stop = new AbortController();
  const changes = store.watch([RecordKind.AGENT_STATE], { signal: stop.signal });
  const next = async (): Promise<Change> => (await changes.next()).value as Change;
  assert.deepEqual([(await next()).type, (await next()).type], ["saved", "synced"]);
  await server.kill();
  await server.start();
  await store.save(agent("b"), { timeout: PATIENCE });
  const saved = await next();
  assert.deepEqual([saved.id, saved.writtenBy, saved.writtenAt], ["b", saved.record?.writtenBy, saved.record?.writtenAt]);
  await store.delete(RecordKind.AGENT_STATE, "b");
  const deleted = await next();
  assert.equal(deleted.type, "deleted");
  assert.ok(deleted.writtenBy);
  assert.ok(deleted.writtenAt);
  stop.abort(new RangeError("enough"));
  await assert.rejects(changes.next(), RangeError);
});

test("what is refused for now is asked again, as long as there is time", { timeout }, async (t) => {
  const store = await state(t, (await start(t, "state", ...await limited(t, "messages_per_second = 20", "messages_burst = 1"))).address);
  for (let n = 0; n < 5; n++) {
    await store.save(agent("a", `s-${n}`));
    const found = await store.get(RecordKind.AGENT_STATE, "a");
    assert.ok(found?.value.case === "agentState" && found.value.value.status === `s-${n}`);
  }
  const strict = await state(t, (await start(t, "state", ...await limited(t, "messages_per_second = 0.0001", "messages_burst = 1"))).address);
  await strict.save(agent("a"));
  const stop = new AbortController();
  const long = 12 * 60 * 60 * 1000;
  const [stopped, closed] = [strict.save(agent("a"), { signal: stop.signal, timeout: long }), strict.save(agent("a"), { timeout: long })];
  await assert.rejects(strict.get(RecordKind.AGENT_STATE, "a"), (error) => isTrunklineError(error, "OVERLOADED")); // the others wait
  stop.abort(new RangeError("enough"));
  await assert.rejects(stopped, RangeError);
  await strict.close();
  await assert.rejects(closed, (error) => isTrunklineError(error, "STATE_DISCONNECTED"));
});
