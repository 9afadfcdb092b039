import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import { join } from "node:path";

import { connectBus, Failure, isRetryable, isTrunklineError, json, Priority, v1, type Leased, type Received } from "../src/index.js";
import { bus, eventually, folder, limited, PATIENCE, start } from "./programs.js";

const timeout = 3 * PATIENCE;
const reason = (wanted: string) => (error: unknown): boolean => isTrunklineError(error, wanted);

test("messages arrive in order, of all that publish at once", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", "--engine", "memory")).address);
  const subscription = await client.subscribe("numbers:*");
  const count = 3000;
  for (let n = 0; n < count; n++) {
    await client.publish("numbers:x", json({ n }));
  }
  await client.flush();
  const came: number[] = [];
  for await (const { payload } of subscription) {
    came.push(payload.n);
    if (came.length === count) {
      break;
    }
  }
  assert.deepEqual(came, Array.from({ length: count }, (_, n) => n));
  await eventually(async () => { // leaving the loop ends the subscription
    assert.deepEqual((await client.call(v1.BusService.method.listSubscriptions, {})).subscriptions, []);
  });
});

test("the higher priority goes first", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", "--engine", "memory")).address);
  const subscription = await client.subscribe("p", { credit: 100 });
  const priorities = [Priority.LOW, Priority.MEDIUM, Priority.CRITICAL, Priority.HIGH];
  await client.publish("p", priorities.map((priority) => json({ priority }, { priority })));
  await eventually(async () => {
    const { subscriptions } = await client.call(v1.BusService.method.listSubscriptions, {});
    assert.equal(subscriptions[0]?.delivered, 4n);
  });
  await client.flush(); // what was sent before is here
  const came: number[] = [];
  for await (const { payload } of subscription) {
    if (came.push(payload.priority) === 4) {
      break;
    }
  }
  assert.deepEqual(came, [4, 3, 2, 1]);
});

test("a handler fails its own message, and nothing else", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", "--engine", "memory")).address);
  const live = await client.subscribe("work");
  const kept = await client.subscribeDurable("work", "workers", { settings: { backoff: { initial: { nanos: 1_000_000 } } } });
  const lived: number[] = [];
  const attempts: string[] = [];
  const both = new Promise<void>((resolve) => {
    void live.each(({ payload }) => {
      lived.push(payload.n);
      if (payload.n === 0) {
        throw new Error("broken");
      }
    });
    void kept.each(async (message: Leased) => {
      attempts.push(`${message.payload.n}.${message.attempt}`);
      if (message.payload.n === 0 && message.attempt === 1) {
        throw new TypeError("not yet");
      }
      if (attempts.length === 3) {
        resolve();
      }
    });
  });
  await client.publishStored("work", [json({ n: 0 }), json({ n: 1 })]);
  await both;
  await kept.drain();
  await eventually(() => assert.deepEqual(lived, [0, 1]));
  assert.deepEqual(attempts.sort(), ["0.1", "0.2", "1.1"]);
  await eventually(async () => {
    const { subscription } = await client.call(v1.BusService.method.getDurableSubscription, { name: "workers" });
    assert.equal(subscription?.acked, 2n);
  });
});

test("a loop acks with its next step, and gives back what it leaves", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", "--engine", "memory")).address);
  const first = await client.subscribeDurable("work", "workers");
  await client.publishStored("work", [0, 1, 2].map((n) => json({ n })));
  for await (const { payload } of first) {
    if (payload.n === 1) {
      break; // 0 is acked, 1 is given back as failed, 2 was not begun
    }
  }
  const came: string[] = [];
  const second = await client.subscribeDurable("work", "workers");
  for await (const message of second) {
    came.push(`${message.payload.n}.${message.attempt}`);
    message.ack();
    if (came.length === 2) {
      break;
    }
  }
  assert.deepEqual(came.sort(), ["1.2", "2.1"]);
});

test("leases are extended while a handler runs", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", "--engine", "memory")).address);
  const subscription = await client.subscribeDurable("work", "workers", { ackWait: 5000 });
  await client.publishStored("work", json({}));
  let attempts = 0;
  const done = new Promise<void>((resolve) => {
    void subscription.each(async () => {
      attempts += 1;
      await new Promise((end) => setTimeout(end, 7000));
      resolve();
    });
  });
  await done;
  await client.close();
  assert.equal(attempts, 1);
});

test("requests are answered, fail, and end with their signal", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", "--engine", "memory")).address);
  await client.respond("ask:*", async (request) => {
    switch (request.channel) {
      case "ask:double":
        return json({ n: 2 * request.payload.n });
      case "ask:nothing":
        return undefined;
      case "ask:fails":
        throw new Failure("MODEL_AWAY", "no model", true);
      default:
        await once(request.signal, "abort");
        throw new Error("called off");
    }
  }, { concurrency: 8 });
  const replies = await Promise.all([1, 2, 3].map((n) => client.request("ask:double", json({ n }))));
  assert.deepEqual(replies.map((each) => each.payload.n), [2, 4, 6]);
  assert.equal((await client.request("ask:nothing", json({}))).text, "{}");
  await assert.rejects(client.request("ask:fails", json({})), (error) => isRetryable(error) && reason("REQUEST_FAILED")(error));
  await assert.rejects(client.request("nobody", json({})), reason("NO_RESPONDERS"));
  await assert.rejects(client.request("ask:slow", json({}), { timeout: 100 }), reason("REQUEST_TIMEOUT"));
  const stop = new AbortController();
  const asked = client.request("ask:slow", json({}), { signal: stop.signal });
  stop.abort(new RangeError("no longer wanted"));
  await assert.rejects(asked, RangeError);
  const stopReading = new AbortController();
  const life = client.requestStream("ask:slow", json({}), { signal: stopReading.signal });
  const accepted = await life.next();
  assert.equal(accepted.value?.event.case, "accepted");
  const next = life.next();
  stopReading.abort(new RangeError("read no longer"));
  await assert.rejects(next, RangeError);
  await eventually(async () => assert.equal((await client.call(v1.BusService.method.getStats, {})).pendingRequests, 0n));
});

test("one caller's bad message is its own", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", "--engine", "memory", "--max-message-bytes", "1048576")).address);
  const large = { payload: { case: "data" as const, value: new Uint8Array(2_000_000) } };
  const [good, bad, other] = await Promise.allSettled([
    client.publishStored("a", json({ n: 1 })), client.publishStored("a", [json({}), large]), client.publishStored("a", json({ n: 2 })),
  ]);
  assert.equal(good.status, "fulfilled");
  assert.equal(other.status, "fulfilled");
  assert.ok(bad.status === "rejected" && reason("MESSAGE_TOO_LARGE")(bad.reason) && bad.reason.details.index === "1", String(bad));
});

test("a bus that is killed loses nothing that was receipted", { timeout }, async (t) => {
  const server = await start(t, "bus", "--path", join(await folder(t), "bus.db"));
  const events: string[] = [];
  let isBack = (): void => undefined;
  const back = new Promise<void>((resolve) => { isBack = resolve; });
  const client = await bus(t, server.address, { onDisconnected: (why) => events.push(why.reason), onReconnected: isBack });
  const count = 400;
  const seen = new Set<number>();
  const kept = await client.subscribeDurable("work", "workers");
  const news = await client.subscribe("news");
  const all = new Promise<void>((resolve) => {
    void kept.each((message: Received) => {
      if (seen.add(message.payload.n).size === count) {
        resolve();
      }
    }, { concurrency: 4 });
  });
  let half = (): void => undefined;
  const reached = new Promise<void>((resolve) => { half = resolve; });
  const publishing = Promise.all([0, 1, 2, 3].map(async (worker) => {
    for (let n = worker; n < count; n += 4) {
      await client.publishStored("work", json({ n }), { timeout: PATIENCE });
      if (n === count / 2) {
        half();
      }
    }
  }));
  await reached;
  await server.kill();
  while (client.isConnected) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  await client.publish("news", json({ n: 7 })); // waits in the buffer
  await server.start();
  await back;
  await publishing;
  await all;
  assert.deepEqual(events, ["BUS_DISCONNECTED"]);
  for await (const { payload } of news) {
    assert.equal(payload.n, 7);
    break;
  }
});

test("close waits for handlers, and then nothing is sent", { timeout }, async (t) => {
  const server = await start(t, "bus", "--engine", "memory");
  const client = await bus(t, server.address);
  const subscription = await client.subscribeDurable("work", "workers");
  let goOn = (): void => undefined;
  const begun = new Promise<void>((resolve) => {
    void subscription.each(async () => {
      resolve();
      await new Promise<void>((end) => { goOn = end; });
    });
  });
  await client.publishStored("work", json({}));
  await begun;
  const closing = client.close();
  goOn();
  await closing;
  await assert.rejects(client.publishStored("work", json({})), reason("BUS_DISCONNECTED"));
  const other = await bus(t, server.address);
  await eventually(async () => {
    const { subscription: kept } = await other.call(v1.BusService.method.getDurableSubscription, { name: "workers" });
    assert.deepEqual([kept?.acked, kept?.leased], [1n, 0n]);
  });
});

test("what is refused for now is published again, in order", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", ...await limited(t, "messages_per_second = 20", "messages_burst = 1"))).address);
  const receipts = (await Promise.all([0, 1, 2, 3, 4, 5].map((n) => client.publishStored("c", [json({ n }), json({ n })])))).flat();
  const sequences = receipts.map((each) => each.sequence);
  assert.equal(sequences.length, 12);
  assert.deepEqual(sequences, [...new Set(sequences)].sort((a, b) => Number(a - b)));
  assert.ok(receipts.every((each) => !each.duplicate));
});

test("live messages wait behind one that was refused", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", ...await limited(t, "messages_per_second = 0.25", "messages_burst = 1"))).address);
  const subscription = await client.subscribe("c");
  await client.publish("c", json({ n: 0 }));
  await client.flush();
  await client.publish("c", json({ n: 1 })); // which is lost
  await assert.rejects(client.flush(), reason("OVERLOADED"));
  await client.publish("c", json({ n: 2 }));
  await client.flush();
  const came: number[] = [];
  for await (const { payload } of subscription) {
    if (came.push(payload.n) === 2) {
      break;
    }
  }
  assert.deepEqual(came, [0, 2]);
});

test("who has less time than the service wants is told so at once", { timeout }, async (t) => {
  const client = await bus(t, (await start(t, "bus", ...await limited(t, "messages_per_second = 0.0001", "messages_burst = 1"))).address);
  await client.publishStored("c", json({}));
  await assert.rejects(client.request("r", json({})), reason("OVERLOADED"));
  await assert.rejects(client.call(v1.BusService.method.getStats, {}), reason("OVERLOADED"));
  await assert.rejects(client.publishStored("c", json({})), reason("OVERLOADED"));
  await assert.rejects(client.publish("c", json({})), reason("OVERLOADED")); // which is not sent, behind the one before
});

test("who waits for the service to take more ends with the signal, and with the client", { timeout }, async (t) => {
  const server = await start(t, "bus", ...await limited(t, "messages_per_second = 0.0001", "messages_burst = 1"));
  for (const end of ["signal", "client"] as const) {
    const client = await bus(t, server.address);
    await client.publishStored("c", json({}), { timeout: 1000 }).catch(() => undefined); // takes what there is
    const stop = new AbortController();
    const options = { signal: stop.signal, timeout: 12 * 60 * 60 * 1000 };
    const waiting: Promise<unknown>[] = [
      client.request("r", json({}), options), client.publishStored("c", json({}), options),
      client.call(v1.BusService.method.getStats, {}, options),
    ];
    await client.flush(); // refusals have come
    waiting.push(client.publish("c", json({}), options));
    if (end === "signal") {
      stop.abort(new RangeError("no longer wanted"));
    } else {
      await client.close();
    }
    for (const each of await Promise.allSettled(waiting)) {
      assert.ok(each.status === "rejected");
      assert.ok(end === "signal" ? each.reason instanceof RangeError : reason("BUS_DISCONNECTED")(each.reason), String(each.reason));
    }
  }
});

test("who connects waits for those before to leave", { timeout }, async (t) => {
  const { address } = await start(t, "bus", ...await limited(t, "streams = 1"));
  const first = await bus(t, address);
  const second = bus(t, address);
  await assert.rejects(connectBus(address, { wait: false, connectTimeout: PATIENCE }), reason("OVERLOADED"));
  await first.close();
  await (await second).publishStored("c", json({}));
});
