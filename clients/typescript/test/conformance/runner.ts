// Does the steps of the table that all clients are held to (tests/conformance): it reads a step as a JSON object a line, and answers
// each with a line, {"ok": …} or {"error": …}.
import { createInterface } from "node:readline";

import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { TimestampSchema } from "@bufbuild/protobuf/wkt";

import {
  connectBus, connectState, Failure, json, Leased, Priority, RecordKind, TrunklineError, v1,
  type Bus, type Change, type ConnectOptions, type DurableSubscription, type Message, type MessageInit, type Received, type State,
  type Subscription,
} from "../../src/index.js";

const PATIENCE = 60_000;

type Words = Record<string, any>;

/** What happened and was not asked for yet. */
class Queue<T> {
  private readonly came: T[] = [];
  private readonly waiting: ((value: T) => void)[] = [];

  get size(): number {
    return this.came.length;
  }

  put(value: T): void {
    const next = this.waiting.shift();
    if (next === undefined) {
      this.came.push(value);
    } else {
      next(value);
    }
  }

  async take(): Promise<T> {
    if (this.came.length > 0) {
      return this.came.shift()!;
    }
    return within(new Promise<T>((resolve) => { this.waiting.push(resolve); }));
  }
}

async function within<T>(promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => { timer = setTimeout(() => reject(new Error("it did not come in time")), PATIENCE); });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

interface Delivery {
  message: Received;
  settled: () => void;
}

/** What a subscription got. */
class Got {
  readonly came = new Queue<Delivery>();
  readonly lagged = new Queue<bigint>();
  readonly trouble = new Queue<Error>();
  readonly held: Delivery[] = [];
  subscription: Subscription | DurableSubscription | undefined;
  goOn!: () => void;
  readonly goesOn = new Promise<void>((resolve) => { this.goOn = resolve; });
}

class Runner {
  private bus!: Bus;
  private state!: State;
  private backs = { bus: new Queue<void>(), state: new Queue<void>() };
  private got = new Map<string, Got>();
  private watches = new Map<string, Queue<{ change?: Change; error?: unknown }>>();
  private later = new Map<string, Promise<Words>>();

  /** Does a step now, or beside those that follow. */
  async answer(step: Words): Promise<Words> {
    if (step["later"] === undefined) {
      return this.attempt(step);
    }
    this.later.set(step["later"], this.attempt(step));
    return { ok: {} };
  }

  private async attempt(step: Words): Promise<Words> {
    if (step["do"] === "wait") {
      return within(this.later.get(step["for"])!);
    }
    try {
      const verb = (this as any)[step["do"]] as (step: Words) => Promise<Words | void>;
      return { ok: (await verb.call(this, step)) ?? {} };
    } catch (error) {
      if (!(error instanceof TrunklineError)) {
        return { error: { code: "?", message: String(error) } };
      }
      const { reason, message, retryable, details } = error;
      return { error: { code: reason, message, retryable, details } };
    }
  }

  private options(of: "bus" | "state", { ca, wait = true, timeout }: Words): ConnectOptions {
    const log = { info: () => undefined, error: console.error };
    return {
      wait, log, connectTimeout: timeout === undefined ? PATIENCE : 1000 * timeout, ...(ca ? { tls: { ca } } : {}),
      onReconnected: () => this.backs[of].put(),
    };
  }

  async connect_bus(step: Words): Promise<void> {
    this.bus = await connectBus(step["address"], this.options("bus", step));
  }

  async connect_state(step: Words): Promise<void> {
    this.state = await connectState(step["address"], this.options("state", step));
  }

  async reconnected({ of }: Words): Promise<void> {
    await this.backs[of as "bus" | "state"].take();
  }

  async reconnections({ of }: Words): Promise<Words> {
    return { count: this.backs[of as "bus" | "state"].size };
  }

  async close(): Promise<void> {
    const { bus, state } = this;
    this.bus = undefined as unknown as Bus;
    this.state = undefined as unknown as State;
    this.got.forEach((each) => each.subscription?.close());
    await bus?.close({ signal: AbortSignal.abort() }).catch(() => undefined); // says that it did not wait
    await state?.close();
    this.backs = { bus: new Queue(), state: new Queue() };
    this.got.clear();
    this.watches.clear();
    this.later.clear();
  }

  async publish({ channel, messages, stored }: Words): Promise<Words> {
    const all = messages.map(toMessage) as MessageInit[];
    if (!stored) {
      await this.bus.publish(channel, all);
      await this.bus.flush();
      return {};
    }
    const receipts = await this.bus.publishStored(channel, all);
    return {
      receipts: receipts.map(({ sequence, duplicate, durability }) =>
        ({ sequence: Number(sequence), duplicate, durability: v1.Durability[durability] })),
    };
  }

  async subscribe({ name, pattern, durable, group, credit, ack_wait, hold, fail }: Words): Promise<void> {
    const got = new Got();
    this.got.set(name, got);
    const handle = async (message: Received, { signal }: { signal: AbortSignal }): Promise<void> => {
      const settled = new Promise<void>((resolve) => { got.came.put({ message, settled: resolve }); });
      if (fail) {
        throw new Error(fail.text);
      }
      if (hold) {
        const stopped = new Promise<void>((resolve) => { signal.addEventListener("abort", () => resolve(), { once: true }); });
        await Promise.race([settled, got.goesOn, stopped]);
      }
    };
    const onError = (why: Error): void => got.trouble.put(why);
    if (durable === undefined) {
      const onLagged = (dropped: bigint): void => got.lagged.put(dropped);
      const made = await this.bus.subscribe(pattern, { onError, onLagged, ...(group ? { group } : {}), ...(credit ? { credit } : {}) });
      got.subscription = made;
      made.each(handle).catch(() => undefined); // told to onError
    } else {
      const ackWait = ack_wait === undefined ? {} : { ackWait: 1000 * ack_wait };
      const made = await this.bus.subscribeDurable(pattern, durable, { onError, ...ackWait, ...(credit ? { credit } : {}) });
      got.subscription = made;
      made.each(handle).catch(() => undefined);
    }
  }

  async expect({ from, count = 1 }: Words): Promise<Words> {
    const got = this.got.get(from)!;
    const messages: Words[] = [];
    for (let each = 0; each < count; each++) {
      const came = await got.came.take();
      got.held.push(came);
      const { message } = came;
      const more = message instanceof Leased ? { attempt: message.attempt, sequence: Number(message.sequence) } : {};
      messages.push({ channel: message.channel, message: fromMessage(message.message), ...more });
    }
    return { messages };
  }

  async lagged({ from }: Words): Promise<Words> {
    return { dropped: Number(await this.got.get(from)!.lagged.take()) };
  }

  async trouble({ from }: Words): Promise<void> {
    throw await this.got.get(from)!.trouble.take();
  }

  async settle({ from, name, reason }: Words): Promise<void> {
    const { message, settled } = this.got.get(from)!.held.shift()!;
    try {
      const leased = message as Leased;
      if (name === "ack") {
        leased.ack();
      } else if (name === "nak") {
        leased.nak(reason, 0);
      } else {
        leased.terminate(reason);
      }
    } finally {
      settled();
    }
  }

  async go_on({ from }: Words): Promise<void> {
    this.got.get(from)!.goOn();
  }

  async drain({ from }: Words): Promise<void> {
    await this.got.get(from)!.subscription!.drain();
  }

  async respond({ pattern, hold, takes = 0, parts = 0, fail }: Words): Promise<void> {
    await this.bus.respond(pattern, async (request) => {
      if (fail) {
        throw fail.code ? new Failure(fail.code, fail.text, fail.retryable) : new Error(fail.text);
      }
      if (hold) {
        await new Promise<void>((_, reject) => { request.signal.addEventListener("abort", () => reject(request.signal.reason), { once: true }); });
      }
      await new Promise<void>((resolve) => { setTimeout(resolve, 1000 * takes); });
      if (parts > 0) {
        request.progress(0.5, "ж");
      }
      for (let n = 0; n < parts; n++) {
        await request.part(json({ n }));
      }
      return { payload: request.message.payload, senderId: "responder" };
    });
  }

  async request({ channel, message, timeout, wait_for_responder: waitForResponder = false }: Words): Promise<Words> {
    const reply = await this.bus.request(channel, toMessage(message), { timeout: 1000 * timeout, waitForResponder });
    return { message: fromMessage(reply.message) };
  }

  /** Tells the events that came: each kind with how many came in a row, the last part and the end. */
  async request_stream({ channel, message, timeout, leave_at }: Words): Promise<Words> {
    const told: Words = {};
    const runs: [string, number][] = [];
    for await (const { event } of this.bus.requestStream(channel, toMessage(message), { timeout: 1000 * timeout })) {
      const kind = event.case!;
      if (event.case === "progress") {
        told["progress"] = event.value;
      } else if (event.case === "part") {
        told["part"] = fromMessage(event.value.message!);
      } else if (event.case === "result") {
        told["end"] = fromMessage(event.value.message!);
      } else if (event.case === "failure") {
        told["end"] = event.value;
      }
      const last = runs.at(-1);
      if (last?.[0] === kind) {
        last[1] += 1;
      } else {
        runs.push([kind, 1]);
      }
      if (kind === leave_at) {
        break;
      }
    }
    return { ...told, events: runs };
  }

  async save({ record, expected_revision }: Words): Promise<Words> {
    const expected = expected_revision === undefined ? {} : { expectedRevision: BigInt(expected_revision) };
    const revision = await this.state.save({ case: "agentState", value: toState(record) }, expected);
    return { revision: Number(revision) };
  }

  async get({ id }: Words): Promise<Words> {
    const found = await this.state.get(RecordKind.AGENT_STATE, id);
    if (found?.value.case !== "agentState") { // undefined is this client's word for NOT_FOUND
      throw new TrunklineError("NOT_FOUND", `there is no agent state ${id}`);
    }
    return { record: fromState(found.value.value), revision: Number(found.revision) };
  }

  async delete({ id }: Words): Promise<Words> {
    return { deleted: await this.state.delete(RecordKind.AGENT_STATE, id) };
  }

  async page({ size, token = "", status = "" }: Words): Promise<Words> {
    const page = await this.state.page(RecordKind.AGENT_STATE, { size, token, filter: { status } });
    return { ids: page.records.map(idOf), token: page.token };
  }

  async list({ status = "" }: Words): Promise<Words> {
    const ids: string[] = [];
    for await (const record of this.state.list(RecordKind.AGENT_STATE, { filter: { status } })) {
      ids.push(idOf(record));
    }
    return { ids };
  }

  async watch({ name, after, status }: Words): Promise<void> {
    const came = new Queue<{ change?: Change; error?: unknown }>();
    this.watches.set(name, came);
    const options = { ...(after === undefined ? {} : { afterRevision: BigInt(after) }), ...(status ? { filter: { status } } : {}) };
    const changes = this.state.watch([RecordKind.AGENT_STATE], options);
    void (async () => {
      try {
        for await (const change of changes) {
          came.put({ change });
        }
      } catch (error) { // with the state, too
        came.put({ error });
      }
    })();
  }

  async changes({ from, count = 1 }: Words): Promise<Words> {
    const changes: Words[] = [];
    for (let each = 0; each < count; each++) {
      const { change, error } = await this.watches.get(from)!.take();
      if (change === undefined) {
        throw error;
      }
      const value = change.record?.value;
      changes.push({ type: change.type, id: change.id, ...(value?.case === "agentState" ? { record: fromState(value.value) } : {}) });
    }
    return { changes };
  }

  async decode({ kind, hex }: Words): Promise<Words> {
    const encoded = Buffer.from(hex, "hex");
    return { value: kind === "message" ? fromMessage(fromBinary(v1.MessageSchema, encoded)) : fromState(fromBinary(v1.AgentStateSchema, encoded)) };
  }

  async encode({ kind, message, record }: Words): Promise<Words> {
    const encoded = kind === "message" ? toBinary(v1.MessageSchema, create(v1.MessageSchema, toMessage(message)))
      : toBinary(v1.AgentStateSchema, create(v1.AgentStateSchema, toState(record)));
    return { hex: Buffer.from(encoded).toString("hex") };
  }
}

function idOf(record: { value: v1.Record["value"] }): string {
  return record.value.case === "agentState" ? record.value.value.agentId : "";
}

function toTime(text: string): { seconds: bigint; nanos: number } {
  const [seconds = "", fraction = ""] = text.replace(/Z$/, "").split(".");
  return { seconds: BigInt(Date.parse(`${seconds}Z`) / 1000), nanos: Number(fraction.padEnd(9, "0").slice(0, 9)) };
}

function fromTime(time: { seconds: bigint; nanos: number }): string {
  const seconds = new Date(Number(time.seconds) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(time.nanos).padStart(9, "0")}Z`;
}

function toMessage(words: Words): MessageInit {
  const payload: MessageInit["payload"] = words["json"] !== undefined ? { case: "json", value: words["json"] }
    : words["data"] !== undefined ? { case: "data", value: Buffer.from(words["data"], "hex") }
      : words["fill"] !== undefined ? { case: "data", value: new Uint8Array(words["fill"]) } : { case: undefined };
  return {
    messageId: words["id"] ?? "", messageType: words["type"] ?? "", senderId: words["sender"] ?? "", recipientId: words["recipient"] ?? "",
    payload, contentType: words["content_type"] ?? "", correlationId: words["correlation"] ?? "",
    priority: words["priority"] === undefined ? Priority.UNSPECIFIED : (Priority as any)[words["priority"].toUpperCase()],
    ...(words["ttl"] === undefined ? {} : { ttlSeconds: words["ttl"] }),
    ...(words["time"] === undefined ? {} : { timestamp: toTime(words["time"]) }),
    metadataJson: words["metadata"] ?? "", orderingKey: words["key"] ?? "",
  } as MessageInit;
}

function fromMessage(message: Message): Words {
  const { payload } = message;
  return {
    id: message.messageId, type: message.messageType, sender: message.senderId, recipient: message.recipientId,
    content_type: message.contentType, correlation: message.correlationId, ttl: message.ttlSeconds,
    metadata: message.metadataJson, key: message.orderingKey,
    ...(payload.case === "json" ? { json: payload.value } : {}),
    ...(payload.case === "data" ? { data: Buffer.from(payload.value).toString("hex") } : {}),
    ...(message.priority ? { priority: Priority[message.priority]!.toLowerCase() } : {}),
    ...(message.timestamp ? { time: fromTime(message.timestamp) } : {}),
  };
}

function toState(words: Words) {
  return {
    agentId: words["id"], agentType: words["type"] ?? "", status: words["status"] ?? "", currentTaskId: words["task"] ?? "",
    completedTasks: words["completed"] ?? [], errorCount: BigInt(words["errors"] ?? 0), metadataJson: words["metadata"] ?? "",
    ...(words["heartbeat"] === undefined ? {} : { lastHeartbeat: create(TimestampSchema, toTime(words["heartbeat"])) }),
  };
}

function fromState(state: v1.AgentState): Words {
  return {
    id: state.agentId, type: state.agentType, status: state.status, task: state.currentTaskId, completed: state.completedTasks,
    metadata: state.metadataJson, ...(state.errorCount ? { errors: String(state.errorCount) } : {}),
    ...(state.lastHeartbeat ? { heartbeat: fromTime(state.lastHeartbeat) } : {}),
  };
}

const runner = new Runner();
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await runner.answer(JSON.parse(line) as Words))}\n`);
}
await runner.close();
