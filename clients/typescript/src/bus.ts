import { create, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

import { again, pausesOf } from "./again.js";
import { Asking, type LifeEvent } from "./asking.js";
import { checkChannel } from "./channels.js";
import { Connection, type ConnectOptions } from "./connection.js";
import { DurableSubscription, type DurableOptions } from "./durable.js";
import { invalid, TrunklineError } from "./errors.js";
import { RequestRequestSchema, type Receipt, type RequestResponse } from "./gen/trunkline/v1/bus_pb.js";
import { checkLive, duration, encodeMessage, Received, type MessageInit } from "./message.js";
import { Mover } from "./moving.js";
import { Responder, type RequestHandler, type RespondOptions } from "./respond.js";
import { FRAME_MESSAGES, Session, withIndex } from "./session.js";
import { Subscription, type LiveOptions } from "./subscription.js";
import { DEFAULT_CALL, Deferred, reasonOf, timeLeft, until, type CallOptions, type TimeLeft } from "./waiting.js";

const MAX_REQUEST = 24 * 60 * 60 * 1000;
const REQUEST = 3; // ClientItem.request

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

/** A request that is to be sent. */
interface Wanted {
  /** Encodes a RequestRequest with what is left of its time. Where a responder is waited for, so is the connection. */
  body: () => Promise<Uint8Array>;
  left: TimeLeft;
  late: () => Error;
}

/**
 * Connects to a bus or a sidecar: host:port, tls://host:port or unix:/path. The connection lasts until `close`.
 *
 * @throws TrunklineError BUS_DISCONNECTED: it cannot be reached in time. TLS: why not. UNAUTHENTICATED. INVALID_ADDRESS.
 * OVERLOADED: as much is open as may be, and nothing ends in time.
 */
export async function connectBus(address: string, options: ConnectOptions = {}): Promise<Bus> {
  const bus = new Bus(address, options);
  await bus.now.stream.open();
  return bus;
}

/**
 * Carries messages between agents. Where the service asks for it, it moves to another connection, and so to another replica:
 * nothing is lost, doubled or failed by that.
 *
 * What the service refuses for now, with OVERLOADED and `retry_after` among the details, is asked again then, but for a
 * `requestStream`; a call whose time is over by then fails with it at once.
 */
export class Bus {
  /** @internal The session of now. */
  now: Session;
  private readonly mover: Mover;
  private readonly pause = pausesOf(() => this.now.stream);

  /** @internal Use {@link connectBus}. */
  constructor(address: string, options: ConnectOptions) {
    const open = (changed: Partial<ConnectOptions>): Session =>
      new Session(new Connection(address, { ...options, ...changed }, "BUS_DISCONNECTED"), () => this.mover.moveIfAsked());
    this.now = open({});
    this.mover = new Mover(this, open);
  }

  /** Makes a unary call of BusService for which there is no method here, such as `bus.call(BusService.method.getStats, {})`. */
  readonly call: Connection["unary"] = (method, request, options = {}) => {
    const left = timeLeft(options);
    return again(left, () => this.now.stream.unary(method, request, left()), this.pause);
  };

  /** Whether the connection is up, and the bus behind it. */
  get isConnected(): boolean {
    return this.now.stream.isUp && !this.now.isAway;
  }

  /**
   * Drains all subscriptions and flushes what was published, until the signal or the timeout (30 s) ends that; then handlers
   * are aborted, what they hold is given back, and the connection ends.
   */
  async close(options: CallOptions = {}): Promise<void> {
    await this.mover.stay(options);
    const open = this.mover.sessions.flatMap((each) => [...each.subscriptions.values()]);
    open.forEach((each) => each.stop());
    const drained = Promise.all(open.map((each) => each.drain({ ...options, timeout: options.timeout ?? DEFAULT_CALL })));
    const failures: unknown[] = [];
    await drained.catch((error: unknown) => failures.push(error));
    open.forEach((each) => each.close());
    if (this.now.stream.isUp) { // what was given back shall still arrive
      const left = options.signal?.aborted || failures.length > 0 ? { timeout: 2000 } : options;
      await this.flush(left).catch((error: unknown) => failures.push(error));
    }
    await Promise.all(this.mover.sessions.map((each) => each.stream.close()));
    if (failures.length > 0) {
      throw failures[0];
    }
  }

  /**
   * Publishes live messages: at most once, to who subscribes now. It returns once the bounded buffer took them; `flush` once
   * the service did. While the connection is lost they wait in the buffer. What the service refuses is lost, as `flush` tells;
   * where it does so for now, those after it wait until it takes more.
   *
   * @throws TrunklineError INVALID_CHANNEL, INVALID_MESSAGE, MESSAGE_TOO_LARGE; BUS_DISCONNECTED: the buffer is full; OVERLOADED:
   * the service takes no more within the timeout.
   */
  async publish(channel: string, messages: MessageInit | readonly MessageInit[], options: CallOptions = {}): Promise<void> {
    checkChannel(channel);
    for (const each of listed(messages)) {
      checkLive(each);
      const { encoded } = encodeMessage(each, this.now.maxMessageBytes);
      let { now } = this;
      do {
        ({ now } = this);
        await now.stream.pace(options);
      } while (now !== this.now); // it moved meanwhile
      if (now.stream.closed !== undefined) {
        throw now.stream.closed;
      }
      now.addLive(channel, encoded);
    }
  }

  /**
   * Publishes messages to be stored, and returns their receipts after the sync to disk. What many callers publish at once goes
   * together. Each message has an id, made here where it has none; where the connection is lost before the receipts came, the
   * same messages are sent again within the timeout: a message is stored once if its bus is back within its dedup window. So they
   * are where the service refuses them for now, and what is published after them waits until then.
   *
   * @throws TrunklineError as publish; OVERLOADED, too: the journal has no room. Details `index`: of several messages, which.
   */
  async publishStored(channel: string, messages: MessageInit | readonly MessageInit[], options: CallOptions = {}): Promise<Receipt[]> {
    checkChannel(channel);
    const all = listed(messages).map((each, index) => {
      try {
        return encodeMessage(each, this.now.maxMessageBytes, true).encoded;
      } catch (error) {
        throw error instanceof TrunklineError ? withIndex(error, index) : error;
      }
    });
    if (all.length === 0) {
      throw invalid("INVALID_MESSAGE", "messages", "0", "there is no message to publish");
    }
    const left = timeLeft(options);
    const receipts: Receipt[] = [];
    while (receipts.length < all.length) {
      const some = all.slice(receipts.length, receipts.length + FRAME_MESSAGES);
      try {
        receipts.push(...(await again(left, () => this.store(channel, some, left()))));
      } catch (error) {
        if (!(error instanceof TrunklineError) || error.reason !== "BUS_DISCONNECTED") {
          throw error;
        }
        await this.now.stream.waitUp(left(), () => error);
      }
    }
    return receipts;
  }

  private async store(channel: string, messages: Uint8Array[], options: CallOptions): Promise<Receipt[]> {
    let { now } = this;
    do {
      ({ now } = this);
      now.stream.check();
      await now.stream.pace(options);
    } while (now !== this.now); // it moved meanwhile
    now.stream.check();
    const call = { messages, awaited: new Deferred<Receipt[]>() };
    now.addStored(channel, call);
    return until(call.awaited.promise, options);
  }

  /**
   * Waits until the service took all that was published live.
   *
   * @throws TrunklineError the first refusal since the last flush, or that the connection was lost meanwhile, with which some
   * of it may be lost too.
   */
  async flush(options: CallOptions = {}): Promise<void> {
    await this.now.ping(false, options);
    const { refused } = this.now; // what was refused of the session before is told by that of now
    this.now.refused = undefined;
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
    const wanted = this.wanted(channel, message, options);
    const reply = await again(wanted.left, () => this.requestOnce(wanted), this.pause);
    if (reply.message === undefined) {
      throw new TrunklineError("INTERNAL", "the service sent a reply without a message");
    }
    return new Received(reply.message, reply.channel, 0n);
  }

  private async requestOnce({ body, left, late }: Wanted): Promise<RequestResponse> {
    const encoded = await body();
    const { now } = this;
    now.stream.check();
    const id = now.stream.nextId();
    const answered = now.stream.answer<RequestResponse>(id, left(), late, () => now.cancelItem(id, {}));
    now.putEncoded(id, REQUEST, encoded);
    return answered;
  }

  /**
   * Publishes a message and yields the life of the request: accepted, progress and parts in any number, then one end, which is the
   * last: a result, a failure, or cancelled. A second accepted says that another responder begins anew: its parts follow from the
   * first.
   *
   * It is sent at the first step. What is not read keeps the responder waiting; of progress that nobody has read, the newest is
   * kept. The end of the signal, or of the loop, cancels it.
   *
   * @throws TrunklineError as request, but for REQUEST_FAILED and REQUEST_CANCELLED, which are events.
   */
  async *requestStream(channel: string, message: MessageInit, options: RequestOptions = {}): AsyncGenerator<LifeEvent, void, undefined> {
    const { body, left, late } = this.wanted(channel, message, options);
    const encoded = await body();
    const asking = new Asking(this.now, encoded);
    const leave = (): void => asking.leave();
    options.signal?.addEventListener("abort", leave, { once: true });
    try {
      for (let event = await asking.next(left(), late); event !== undefined; event = await asking.next(left(), late)) {
        yield event;
      }
    } finally {
      options.signal?.removeEventListener("abort", leave);
      leave();
    }
  }

  /** Checks what is wished of a request. */
  private wanted(channel: string, message: MessageInit, options: RequestOptions): Wanted {
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
    const left = timeLeft(options);
    const { encoded, id: correlation } = encodeMessage(message, this.now.maxMessageBytes, true, true);
    const late = (): Error => new TrunklineError("REQUEST_TIMEOUT", `no reply on ${channel} within ${timeout} ms`,
      { channel, correlation_id: correlation, timeout_seconds: String(timeout / 1000) });
    const body = async (): Promise<Uint8Array> => {
      if (options.waitForResponder) {
        await this.now.stream.waitUp(left(), late);
      }
      const head = toBinary(RequestRequestSchema, create(RequestRequestSchema, {
        channel, timeout: duration(Math.max(left().timeout, 1)), waitForResponder: options.waitForResponder ?? false,
        repeatable: options.repeatable ?? false, outlivesAsker: options.outlivesAsker ?? false,
        ...(idleTimeout === undefined ? {} : { idleTimeout: duration(idleTimeout) }),
      }));
      return new BinaryWriter().raw(head).tag(2, WireType.LengthDelimited).bytes(encoded).finish(); // RequestRequest.message
    };
    return { body, left, late };
  }

  /**
   * Subscribes to live messages of a channel or pattern, at most once. It returns when the service has registered it: nothing
   * published after it is missed. Signal and timeout are those of the registration.
   */
  async subscribe(pattern: string, options: LiveOptions = {}): Promise<Subscription> {
    return new Subscription(this.now, pattern, options).open();
  }

  /**
   * Subscribes to stored messages of a channel or pattern, at least once: the durable subscription of that name keeps them
   * until they are settled, and is made here where there is none. All who name it share its messages.
   */
  async subscribeDurable(pattern: string, name: string, options: DurableOptions = {}): Promise<DurableSubscription> {
    return new DurableSubscription(this.now, pattern, name, options).open();
  }

  /**
   * Answers the requests on a channel or pattern: what the handler returns is the answer; nothing means that it is done. What
   * it throws fails the request, which who asked hears at once as REQUEST_FAILED. What is no request is passed over.
   */
  async respond(pattern: string, handler: RequestHandler, options: RespondOptions = {}): Promise<Responder> {
    const responder = await new Responder(this.now, pattern, handler, options).open();
    responder.answerAll();
    return responder;
  }
}

function listed(messages: MessageInit | readonly MessageInit[]): readonly MessageInit[] {
  return Array.isArray(messages) ? messages : [messages as MessageInit];
}
