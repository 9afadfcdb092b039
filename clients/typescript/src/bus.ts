import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Metadata } from "@grpc/grpc-js";

import { checkChannel } from "./channels.js";
import { Connection, type ConnectOptions } from "./connection.js";
import { DurableSubscription, type DurableOptions } from "./durable.js";
import { fromItem, invalid, TrunklineError } from "./errors.js";
import type { SubscribeRequestInit } from "./frames.js";
import {
  OpenStreamRequestSchema, OpenStreamResponseSchema, Durability, PublishRequestSchema, RequestRequestSchema,
  type OpenStreamRequest_CancelSchema, type OpenStreamRequest_ClientItemSchema, type OpenStreamResponse, type Receipt, type RequestResponse,
} from "./gen/trunkline/v1/bus_pb.js";
import { checkLive, duration, encodeMessage, Received, type MessageInit } from "./message.js";
import { Responder, type RequestHandler, type RespondOptions } from "./respond.js";
import { FRAME_BYTES, Stream, type StreamUser } from "./stream.js";
import { Subscription, type Interest, type LiveOptions } from "./subscription.js";
import { DEFAULT_CALL, Deferred, reasonOf, until, type CallOptions } from "./waiting.js";

const FRAME_MESSAGES = 512;
const MAX_REQUEST = 24 * 60 * 60 * 1000;
const MIB = 1024 * 1024;

/** What is wished of a request. */
export interface RequestOptions extends CallOptions {
  /** Milliseconds in which a sign of life must come from whoever holds it. */
  idleTimeout?: number;
  /** Waits for somebody to subscribe, within the timeout, instead of failing with NO_RESPONDERS. */
  waitForResponder?: boolean;
  /** It may be done twice: where who held it is lost, it is handed out again. */
  repeatable?: boolean;
  /** It goes on where the caller stops waiting. */
  outlivesAsker?: boolean;
}

/** Awaits the receipts of one call's messages. */
interface Waiter {
  messages: Uint8Array[];
  awaited: Deferred<Receipt[]>;
}

/** What is published and waits for the next frame: on one channel, all of it to be stored or none. */
class Group {
  readonly writer = new BinaryWriter();
  count = 0;
  size = 0;
  readonly waiters: Waiter[] = [];

  constructor(readonly channel: string, readonly isStored: boolean) {}

  add(encoded: Uint8Array): void {
    this.writer.tag(2, WireType.LengthDelimited).bytes(encoded); // PublishRequest.messages
    this.count += 1;
    this.size += encoded.length;
  }
}

/**
 * Connects to a bus or a sidecar: host:port, tls://host:port or unix:/path. The connection lasts until `close`.
 *
 * @throws TrunklineError BUS_DISCONNECTED: it cannot be reached in time. TLS: why not. UNAUTHENTICATED. INVALID_ADDRESS.
 */
export async function connectBus(address: string, options: ConnectOptions = {}): Promise<Bus> {
  const bus = new Bus(new Connection(address, options, "BUS_DISCONNECTED"));
  await bus.stream.open();
  return bus;
}

/** Carries messages between agents. */
export class Bus implements StreamUser<OpenStreamResponse> {
  /** @internal */
  readonly stream: Stream<OpenStreamResponse>;
  /** @internal */
  readonly subscriptions = new Map<bigint, Interest<any>>();
  /** Makes a unary call of BusService for which there is no method here, such as `bus.call(BusService.method.getStats, {})`. */
  readonly call: Connection["unary"];
  private readonly touched = new Set<Interest<any>>(); // those that have something to say with the next frame
  private group: Group | undefined;
  private readonly receipts = new Map<bigint, Group>();
  private refused: TrunklineError | undefined; // the first one of something live since the last flush
  private isUnconfirmed = false; // something live was published that the service may not have taken
  private isAway = false; // a sidecar took the stream while the bus is away

  /** @internal Use {@link connectBus}. */
  constructor(connection: Connection) {
    this.stream = new Stream(connection, "/trunkline.v1.BusService/OpenStream", this);
    this.call = connection.unary.bind(connection);
  }

  /** @internal */
  get maxMessageBytes(): number {
    return this.stream.connection.options.maxMessageBytes ?? 4 * MIB;
  }

  /** Whether the connection is up, and the bus behind it. */
  get isConnected(): boolean {
    return this.stream.isUp && !this.isAway;
  }

  /**
   * Drains all subscriptions and flushes what was published, until the signal or the timeout (30 s) ends that; then handlers
   * are aborted, what they hold is given back, and the connection ends.
   */
  async close(options: CallOptions = {}): Promise<void> {
    const open = [...this.subscriptions.values()];
    open.forEach((each) => each.stop());
    const drained = Promise.all(open.map((each) => each.drain({ ...options, timeout: options.timeout ?? DEFAULT_CALL })));
    const failures: unknown[] = [];
    await drained.catch((error: unknown) => failures.push(error));
    open.forEach((each) => each.close());
    if (this.stream.isUp) { // what was given back shall still arrive
      const left = options.signal?.aborted || failures.length > 0 ? { timeout: 2000 } : options;
      await this.flush(left).catch((error: unknown) => failures.push(error));
    }
    await this.stream.close();
    if (failures.length > 0) {
      throw failures[0];
    }
  }

  /**
   * Publishes live messages: at most once, to who subscribes now. It returns once the bounded buffer took them; `flush` once
   * the service did. While the connection is lost they wait in the buffer.
   *
   * @throws TrunklineError INVALID_CHANNEL, INVALID_MESSAGE, MESSAGE_TOO_LARGE; BUS_DISCONNECTED: the buffer is full.
   */
  async publish(channel: string, messages: MessageInit | readonly MessageInit[], options: CallOptions = {}): Promise<void> {
    checkChannel(channel);
    for (const each of listed(messages)) {
      checkLive(each);
      const { encoded } = encodeMessage(each, this.maxMessageBytes);
      await this.stream.pace(options);
      if (this.stream.closed !== undefined) {
        throw this.stream.closed;
      }
      this.isUnconfirmed = true;
      this.groupFor(channel, false).add(encoded);
      this.sealFull();
    }
  }

  /**
   * Publishes messages to be stored, and returns their receipts after the sync to disk. What many callers publish at once goes
   * together. Each message has an id, made here where it has none; where the connection is lost before the receipts came, the
   * same messages are sent again within the timeout: a message is stored once if its bus is back within its dedup window.
   *
   * @throws TrunklineError as publish; OVERLOADED: the journal has no room. Details `index`: of several messages, which.
   */
  async publishStored(channel: string, messages: MessageInit | readonly MessageInit[], options: CallOptions = {}): Promise<Receipt[]> {
    checkChannel(channel);
    const all = listed(messages).map((each, index) => {
      try {
        return encodeMessage(each, this.maxMessageBytes, true).encoded;
      } catch (error) {
        throw error instanceof TrunklineError ? withIndex(error, index) : error;
      }
    });
    if (all.length === 0) {
      throw invalid("INVALID_MESSAGE", "messages", "0", "there is no message to publish");
    }
    const ends = performance.now() + (options.timeout ?? DEFAULT_CALL);
    const left = (): CallOptions => ({ ...options, timeout: Math.max(ends - performance.now(), 0) });
    const receipts: Receipt[] = [];
    while (receipts.length < all.length) {
      try {
        receipts.push(...(await this.store(channel, all.slice(receipts.length, receipts.length + FRAME_MESSAGES), left())));
      } catch (error) {
        if (!(error instanceof TrunklineError) || error.reason !== "BUS_DISCONNECTED") {
          throw error;
        }
        await this.stream.waitUp(left(), () => error);
      }
    }
    return receipts;
  }

  private async store(channel: string, messages: Uint8Array[], options: CallOptions): Promise<Receipt[]> {
    this.stream.check();
    await this.stream.pace(options);
    this.stream.check();
    const call = { messages, awaited: new Deferred<Receipt[]>() };
    this.addStored(channel, call);
    return until(call.awaited.promise, options);
  }

  /**
   * Waits until the service took all that was published live.
   *
   * @throws TrunklineError the first refusal since the last flush, or that the connection was lost meanwhile, with which some
   * of it may be lost too.
   */
  async flush(options: CallOptions = {}): Promise<void> {
    this.stream.check();
    const id = this.stream.nextId();
    const answered = this.stream.answer<void>(id, options);
    this.sayItem({ id, item: { case: "ping", value: {} } });
    await answered;
    this.isUnconfirmed = this.group !== undefined && !this.group.isStored;
    const refused = this.refused;
    this.refused = undefined;
    if (refused !== undefined) {
      throw refused;
    }
  }

  /**
   * Publishes a message and waits for its reply: by `respond`, or any message published with its correlation id. The end of
   * the signal cancels it.
   *
   * @throws TrunklineError NO_RESPONDERS, REQUEST_TIMEOUT, REQUEST_FAILED, RESPONDER_LOST, REQUEST_CANCELLED, BUS_DISCONNECTED.
   */
  async request(channel: string, message: MessageInit, options: RequestOptions = {}): Promise<Received> {
    checkChannel(channel);
    const { timeout = DEFAULT_CALL, idleTimeout, signal } = options;
    for (const [field, value] of [["timeout", timeout], ["idle_timeout", idleTimeout]] as const) {
      if (value !== undefined && !(value > 0 && value <= MAX_REQUEST)) {
        throw invalid("INVALID_MESSAGE", field, String(value), `${field} is ${value} ms, it must be more than 0 and at most ${MAX_REQUEST} ms`);
      }
    }
    if (signal?.aborted) {
      throw reasonOf(signal);
    }
    const ends = performance.now() + timeout;
    const { encoded, id: correlation } = encodeMessage(message, this.maxMessageBytes, true, true);
    const late = (): Error => new TrunklineError("REQUEST_TIMEOUT", `no reply on ${channel} within ${timeout} ms`,
      { channel, correlation_id: correlation, timeout_seconds: String(timeout / 1000) });
    if (options.waitForResponder) {
      await this.stream.waitUp({ ...options, timeout }, late);
    }
    this.stream.check();
    const left = Math.max(ends - performance.now(), 1);
    const wanted = toBinary(RequestRequestSchema, create(RequestRequestSchema, {
      channel, timeout: duration(left), waitForResponder: options.waitForResponder ?? false,
      repeatable: options.repeatable ?? false, outlivesAsker: options.outlivesAsker ?? false,
      ...(idleTimeout === undefined ? {} : { idleTimeout: duration(idleTimeout) }),
    }));
    const id = this.stream.nextId();
    const call = { timeout: left, ...(signal ? { signal } : {}) };
    const answered = this.stream.answer<RequestResponse>(id, call, late, () => this.cancelItem(id, {}));
    this.seal();
    const body = new BinaryWriter().raw(wanted).tag(2, WireType.LengthDelimited).bytes(encoded).finish(); // RequestRequest.message
    this.stream.put(itemFrame(id, 3, body), false);
    const reply = await answered;
    if (reply.message === undefined) {
      throw new TrunklineError("INTERNAL", "the service sent a reply without a message");
    }
    return new Received(reply.message, reply.channel, 0n);
  }

  /**
   * Subscribes to live messages of a channel or pattern, at most once. It returns when the service has registered it: nothing
   * published after it is missed. Signal and timeout are those of the registration.
   */
  async subscribe(pattern: string, options: LiveOptions = {}): Promise<Subscription> {
    return new Subscription(this, pattern, options).open();
  }

  /**
   * Subscribes to stored messages of a channel or pattern, at least once: the durable subscription of that name keeps them
   * until they are settled, and is made here where there is none. All who name it share its messages.
   */
  async subscribeDurable(pattern: string, name: string, options: DurableOptions = {}): Promise<DurableSubscription> {
    return new DurableSubscription(this, pattern, name, options).open();
  }

  /**
   * Answers the requests on a channel or pattern: what the handler returns is the answer; nothing means that it is done. What
   * it throws fails the request, which who asked hears at once as REQUEST_FAILED. What is no request is passed over.
   */
  async respond(pattern: string, handler: RequestHandler, options: RespondOptions = {}): Promise<Responder> {
    const responder = await new Responder(this, pattern, handler, options).open();
    responder.answerAll();
    return responder;
  }

  /** The group into which a message of this kind goes; another is sealed first. */
  private groupFor(channel: string, isStored: boolean): Group {
    if (this.group !== undefined && (this.group.channel !== channel || this.group.isStored !== isStored)) {
      this.seal();
    }
    this.stream.schedule();
    return (this.group ??= new Group(channel, isStored));
  }

  /** Adds the messages of one call, whose receipts come with one answer. */
  private addStored(channel: string, call: Waiter): void {
    if (this.group !== undefined && this.group.count + call.messages.length > FRAME_MESSAGES) {
      this.seal();
    }
    const group = this.groupFor(channel, true);
    call.messages.forEach((each) => group.add(each));
    group.waiters.push(call);
    this.sealFull();
  }

  private sealFull(): void {
    if (this.group !== undefined && (this.group.count >= FRAME_MESSAGES || this.group.size >= FRAME_BYTES)) {
      this.seal();
    }
  }

  /** Lets the open group go out with the next frame. */
  private seal(): void {
    const group = this.group;
    if (group === undefined) {
      return;
    }
    this.group = undefined;
    const durability = group.isStored ? Durability.STORED : Durability.UNSPECIFIED;
    const head = toBinary(PublishRequestSchema, create(PublishRequestSchema, { channel: group.channel, durability }));
    let id = 0n;
    if (group.isStored) {
      id = this.stream.nextId();
      this.receipts.set(id, group);
    }
    this.stream.put(itemFrame(id, 2, group.writer.raw(head).finish()), !group.isStored);
  }

  /** Lets an item go out with the next frame, behind all that was published. */
  private sayItem(item: MessageInitShape<typeof OpenStreamRequest_ClientItemSchema>): void {
    this.seal();
    this.stream.put(toBinary(OpenStreamRequestSchema, create(OpenStreamRequestSchema, { items: [item] })), false);
  }

  /** @internal */
  sayOf(id: bigint, frame: SubscribeRequestInit["frame"]): void {
    this.sayItem({ id, item: { case: "subscribe", value: { frame } } });
  }

  /** @internal */
  cancelItem(id: bigint, how: MessageInitShape<typeof OpenStreamRequest_CancelSchema>): void {
    this.sayItem({ id, item: { case: "cancel", value: how } });
  }

  /** @internal */
  touch(subscription: Interest<any>): void {
    this.touched.add(subscription);
    this.stream.schedule();
  }

  /** @internal */
  parse(bytes: Buffer): OpenStreamResponse {
    return fromBinary(OpenStreamResponseSchema, bytes);
  }

  /** @internal */
  gather(): void {
    const touched = [...this.touched];
    this.touched.clear();
    touched.forEach((each) => each.gather());
    this.seal();
  }

  /** @internal */
  wentUp(greeting: Metadata): void {
    this.isAway = greeting.get("trunkline-bus")[0] === "away";
    const kept = this.stream.waiting;
    const { group } = this;
    this.stream.waiting = [];
    this.group = undefined; // nothing of it goes before the subscriptions
    this.subscriptions.forEach((each) => each.start());
    this.stream.waiting.push(...kept);
    this.group = group;
  }

  /** @internal */
  wentDown(why: TrunklineError): void {
    const lost = [...this.receipts.values()];
    this.receipts.clear();
    if (this.group?.isStored) {
      lost.push(this.group);
      this.group = undefined;
    }
    lost.forEach((group) => group.waiters.forEach((each) => each.awaited.reject(why)));
    if (this.isUnconfirmed && this.refused === undefined) {
      this.refused = why;
    }
    this.touched.clear();
    for (const [id, each] of this.subscriptions) {
      each.streamLost();
      if (this.stream.closed !== undefined) {
        this.subscriptions.delete(id);
        each.end(why);
      }
    }
  }

  /** @internal */
  take(frame: OpenStreamResponse): void {
    for (const { id, item } of frame.items) {
      switch (item.case) {
        case "subscription":
          this.subscriptions.get(id)?.take(item.value.frame);
          break;
        case "published":
          this.takeReceipts(id, item.value.receipts);
          break;
        case "reply":
          this.stream.settle(id, item.value);
          break;
        case "pong":
          this.stream.settle(id, undefined);
          break;
        case "error":
          this.takeError(id, fromItem(item.value));
          break;
        case "busConnected":
          this.isAway = false;
          break;
      }
    }
  }

  private takeReceipts(id: bigint, receipts: Receipt[]): void {
    const waiters = this.receipts.get(id)?.waiters ?? [];
    this.receipts.delete(id);
    let at = 0;
    for (const { messages, awaited } of waiters) {
      const own = receipts.slice(at, at + messages.length);
      at += messages.length;
      if (own.length === messages.length) {
        awaited.resolve(own);
      } else {
        awaited.reject(new TrunklineError("INTERNAL", "the service sent too few receipts"));
      }
    }
  }

  private takeError(id: bigint, said: TrunklineError): void {
    const subscription = this.subscriptions.get(id);
    const group = this.receipts.get(id);
    if (subscription !== undefined) {
      this.subscriptions.delete(id);
      subscription.end(said);
    } else if (group !== undefined) {
      this.receipts.delete(id);
      this.refuse(group, said);
    } else if (!this.stream.fail(id, said) && id === 0n) { // something live was refused
      this.stream.log.error(`trunkline: the service refused a message: ${said.message}`);
      this.refused ??= said;
    }
  }

  /** Fails the call one of whose messages was refused. Nothing of the frame was published: what others had in it is sent again. */
  private refuse(group: Group, said: TrunklineError): void {
    let index = Number(said.details["index"] ?? NaN);
    for (const each of group.waiters) {
      if (group.waiters.length === 1 || Number.isNaN(index)) {
        each.awaited.reject(said);
      } else if (index >= 0 && index < each.messages.length) {
        each.awaited.reject(withIndex(said, index));
      } else {
        this.addStored(group.channel, each);
      }
      index -= each.messages.length;
    }
  }
}

function listed(messages: MessageInit | readonly MessageInit[]): readonly MessageInit[] {
  return Array.isArray(messages) ? messages : [messages as MessageInit];
}

function withIndex(error: TrunklineError, index: number): TrunklineError {
  return new TrunklineError(error.reason, error.message, { ...error.details, index: String(index) }, { cause: error.cause });
}

/** A frame of one item: OpenStreamRequest.items, with ClientItem.id and the item. */
function itemFrame(id: bigint, field: number, body: Uint8Array): Uint8Array {
  const item = new BinaryWriter();
  if (id !== 0n) {
    item.tag(1, WireType.Varint).uint64(id);
  }
  item.tag(field, WireType.LengthDelimited).bytes(body);
  return new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(item.finish()).finish();
}
