import { checkChannel } from "./channels.js";
import { invalid, TrunklineError } from "./errors.js";
import type { SubscribeRequestInit, SubscribeResponse, SubscribeResponse_Deliveries, StartInit } from "./frames.js";
import { isExpired, Received, type Message } from "./message.js";
import type { Handover, Overlap } from "./moving.js";
import type { Session } from "./session.js";
import { Deferred, until, type CallOptions } from "./waiting.js";

const WINDOW = 8192; // messages that a live subscription is sent ahead

/** How messages are received. */
export interface SubscribeOptions extends CallOptions {
  /** How many messages may be sent ahead of who reads them. Default: 8,192; of a durable subscription and a responder 2. */
  credit?: number;
  /** Told what goes wrong beside the messages: the service ended the subscription, or refused what was said. Default: logged. */
  onError?: (why: TrunklineError) => void;
}

/** How live messages are received. */
export interface LiveOptions extends SubscribeOptions {
  /** Shares the messages with all who subscribe to the same pattern in the same group: each goes to one of them. */
  group?: string;
  /** Only looks on, and does not count as somebody who could answer a request. */
  observer?: boolean;
  /** Told how many messages the service dropped since this subscriber was too slow. Default: logged. */
  onLagged?: (dropped: bigint) => void;
}

/** How handlers run. */
export interface EachOptions {
  /** How many run at once. Default: 1, which keeps the order. */
  concurrency?: number;
}

/** What a handler is given beside its message. */
export interface Handling {
  /** Aborted when the subscription is closed, and for a request when nobody waits for its answer any more. */
  signal: AbortSignal;
}

/** A message that waits here. */
export interface Entry {
  message: Message;
  channel: string;
  sequence: bigint;
  attempt: number;
  cameAt: number;
}

/** One interest of a client: each life of the connection asks for it anew. */
export abstract class Interest<T> {
  /** @internal Its item on the stream of now. */
  id: bigint;
  /** @internal While it moves: what holds back what came. */
  handover: Handover | undefined;
  /** @internal */
  isClosed = false;
  /** @internal */
  credit: number;
  protected readonly handlers = new AbortController();
  private readonly levels: Entry[][] = [[], [], [], [], []];
  private readonly heads = [0, 0, 0, 0, 0];
  protected waiting = 0;
  private takers: Deferred<void>[] = [];
  private readonly registering = new Deferred<void>();
  private isKnown = false;
  private ended: TrunklineError | undefined;
  private isOver = false;
  private running = 0;
  private readonly drained = new Deferred<void>();

  /** @internal */
  constructor(public session: Session, readonly pattern: string, protected readonly options: SubscribeOptions, credit: number) {
    checkChannel(pattern, true);
    this.credit = options.credit ?? credit;
    if (!Number.isInteger(this.credit) || this.credit < 1) {
      throw invalid("INVALID_MESSAGE", "credit", String(this.credit), "credit must be a whole number from 1");
    }
    this.id = session.stream.nextId();
  }

  /** Fills in what is asked of the service. */
  protected abstract startOf(): StartInit;
  /** Says what comes behind it. */
  protected started(): void {}
  /** Returns what waits of what came. */
  protected abstract arrived(came: SubscribeResponse_Deliveries): Entry[];
  /** Takes what is neither deliveries nor a start. */
  protected other(_frame: SubscribeResponse["frame"]): void {}
  /** Makes of what waited what is handed out; undefined where it is not to be handled any more. */
  protected abstract begin(entry: Entry): T | undefined;
  /** How much is handed out and not settled. */
  protected get held(): number {
    return 0;
  }
  /** Says what has gathered. */
  gather(): void {}
  /** The stream was lost. */
  streamLost(): void {}
  /** Gives back what was not begun. */
  protected abstract closing(): void;
  /** Gives up what handlers have. */
  protected abandoning(): void {}

  /** Asks for it, and returns when the service has registered it. */
  async open(): Promise<this> {
    this.session.subscriptions.set(this.id, this);
    if (this.session.stream.closed !== undefined) {
      this.session.subscriptions.delete(this.id);
      throw this.session.stream.closed;
    }
    if (this.session.stream.isUp) {
      this.start();
    }
    try {
      await until(this.registering.promise, this.options);
    } catch (error) {
      this.close();
      throw error;
    }
    return this;
  }

  /** Asks for it in this life of the stream. */
  start(): void {
    this.say({ case: "start", value: { pattern: this.pattern, ...this.startOf() } });
    this.started();
  }

  protected say(frame: SubscribeRequestInit["frame"]): void {
    this.session.sayOf(this.id, frame);
  }

  /**
   * Takes no more messages, and returns when what was handed out is done and what was said of it is on its way. What was not
   * begun goes to others at once, without an attempt counted.
   */
  async drain(options: CallOptions = {}): Promise<void> {
    this.stop();
    await until(this.drained.promise, { timeout: Infinity, ...options });
    this.leave();
  }

  /** Takes no more messages, aborts the handlers' signal, and gives up what they hold, without waiting for them. */
  close(): void {
    this.stop();
    this.abandoning();
    this.handlers.abort();
    this.leave();
  }

  /** Takes no more messages; what was handed out goes on. */
  stop(): void {
    if (this.isClosed) {
      return;
    }
    this.isClosed = true;
    this.forget();
    this.closing();
    this.registered(new TrunklineError("BUS_DISCONNECTED", `the subscription to ${JSON.stringify(this.pattern)} was ended before it began`));
    this.finish();
  }

  private leave(): void {
    if (this.session.subscriptions.delete(this.id)) {
      this.gather();
      this.session.cancelItem(this.id, { nothingBegun: true });
    }
  }

  /** The end of it by the service, or with the connection: what waits is still handed out. */
  end(why: TrunklineError): void {
    const hasBegun = this.isKnown;
    this.registered(why);
    if (!this.isClosed) {
      this.ended = why;
      if (hasBegun) {
        this.tell(why);
      }
    }
    this.finish();
  }

  private registered(error?: TrunklineError): void {
    if (!this.isKnown) {
      this.isKnown = true;
      if (error === undefined) {
        this.registering.resolve();
      } else {
        this.registering.reject(error);
      }
    }
  }

  private finish(): void {
    this.isOver = true;
    this.wake();
    this.rest();
  }

  /** @internal */
  get hasEnded(): boolean {
    return this.isOver;
  }

  /** Notes that nothing is at work any more, where that is so. */
  protected rest(): void {
    if (this.isOver && this.running === 0 && this.held === 0) {
      this.drained.resolve();
    }
  }

  protected tell(why: TrunklineError): void {
    this.callBack(this.options.onError, why, `something went wrong with the subscription to ${this.pattern}`);
  }

  /** Tells who wants to know, else the log. */
  protected callBack<A>(told: ((about: A) => void) | undefined, about: A, words: string): void {
    if (told === undefined) {
      this.session.stream.log.error(`trunkline: ${words}: ${about instanceof Error ? about.message : String(about)}`);
      return;
    }
    try {
      told(about);
    } catch (error) {
      this.session.stream.log.error("trunkline: a callback failed", error);
    }
  }

  protected forget(): void {
    this.levels.forEach((level) => { level.length = 0; });
    this.heads.fill(0);
    this.waiting = 0;
  }

  /** @internal Whether the service has registered it, now or on a stream that was lost. */
  get hasStarted(): boolean {
    return this.isKnown;
  }

  /** @internal Goes on as an item on another stream. */
  moveTo(session: Session, id: bigint): void {
    this.session = session;
    this.id = id;
  }

  /** @internal Takes a frame of the stream that it has left. */
  abstract takeLast(frame: SubscribeResponse["frame"]): void;

  /** @internal Takes a frame. */
  take(frame: SubscribeResponse["frame"]): void {
    if (this.handover === undefined) {
      this.takeNow(frame);
    } else {
      this.handover.hold(frame);
    }
  }

  /** @internal Takes a frame that was held back. */
  takeHeld(frame: SubscribeResponse["frame"]): void {
    if (!this.isClosed) {
      this.takeNow(frame);
    }
  }

  /** @internal */
  takeNow(frame: SubscribeResponse["frame"]): void {
    if (frame.case === "deliveries") {
      const entries = this.arrived(frame.value);
      if (this.isClosed || entries.length === 0) {
        return;
      }
      const { priority } = frame.value;
      this.push(priority >= 1 && priority <= 4 ? priority : 2, entries);
      return;
    }
    this.other(frame);
    if (frame.case === "started") {
      this.registered();
    }
  }

  /** Lets messages wait. */
  protected push(level: number, entries: Entry[]): void {
    this.levels[level]!.push(...entries);
    this.waiting += entries.length;
    this.wake(entries.length);
  }

  private wake(count = Infinity): void {
    for (const each of this.takers.splice(0, count)) {
      each.resolve();
    }
  }

  /** Returns the next message, the higher priority first; undefined when no more comes. */
  protected async next(): Promise<T | undefined> {
    for (;;) {
      for (let level = 4; level >= 0; level--) {
        const entries = this.levels[level]!;
        while (this.heads[level]! < entries.length) {
          const entry = entries[this.heads[level]!++]!;
          this.waiting -= 1;
          if (this.heads[level] === entries.length) {
            entries.length = this.heads[level] = 0;
          } else if (this.heads[level]! >= 1024) { // what was handed out is not kept
            entries.splice(0, this.heads[level]);
            this.heads[level] = 0;
          }
          const begun = this.begin(entry);
          if (begun !== undefined) {
            return begun;
          }
        }
      }
      if (this.isOver) {
        return undefined;
      }
      const taker = new Deferred<void>();
      this.takers.push(taker);
      await taker.promise;
    }
  }

  /** Throws why the service ended it, where it did. */
  protected throwEnd(): void {
    if (this.ended !== undefined) {
      throw this.ended;
    }
  }

  /** Gives each message to a handler, so many at once, until no more comes. */
  protected async work(handle: (begun: T) => Promise<void>, concurrency: number): Promise<void> {
    if (!Number.isInteger(concurrency) || concurrency < 1) {
      throw invalid("INVALID_MESSAGE", "concurrency", String(concurrency), "concurrency must be a whole number from 1");
    }
    const worker = async (): Promise<void> => {
      for (let begun = await this.next(); begun !== undefined; begun = await this.next()) {
        this.running += 1;
        try {
          await handle(begun);
        } finally {
          this.running -= 1;
          this.rest();
        }
      }
    };
    await Promise.all(Array.from({ length: concurrency }, worker));
    this.throwEnd();
  }
}

/** Live messages: at most once. Read them in a `for await`, or give each to a handler; leaving the loop ends it. */
export class Subscription extends Interest<Received> implements AsyncIterable<Received> {
  private taken = 0; // since credit was granted last
  /** @internal What came on a stream that it left, and may come again. */
  overlap: Overlap | undefined;

  /** @internal */
  constructor(session: Session, pattern: string, protected override readonly options: LiveOptions) {
    super(session, pattern, options, WINDOW);
  }

  protected startOf(): StartInit {
    this.taken = 0;
    return this.wanted(Math.max(1, this.credit - this.waiting));
  }

  /** @internal What is asked of the service, with a credit. */
  wanted(credit: number): StartInit {
    const { group = "", observer = false } = this.options;
    return { group, observer, credit };
  }

  /** @internal Whether it is one of a group. */
  get isShared(): boolean {
    return Boolean(this.options.group);
  }

  /** @internal Another stream has taken the place of the one before: what waits here had the credit of that one. */
  moved(): void {
    this.taken = -this.waiting - (this.handover?.lastHeld ?? 0);
  }

  takeLast(frame: SubscribeResponse["frame"]): void {
    this.taken -= frame.case === "deliveries" ? frame.value.messages.length : 0;
    if (this.handover !== undefined && this.isShared && !this.isClosed) {
      this.handover.holdLast(frame);
    } else {
      this.takeHeld(frame);
    }
  }

  protected arrived(came: SubscribeResponse_Deliveries): Entry[] {
    const entries = came.messages.map((message, at) =>
      ({ message, channel: came.channel, sequence: came.firstSequence + BigInt(at), attempt: 0, cameAt: 0 }));
    if (this.overlap === undefined) {
      return entries;
    }
    const unknown = this.overlap.sift(entries);
    this.done(entries.length - unknown.length);
    return unknown;
  }

  protected override other(frame: SubscribeResponse["frame"]): void {
    if (frame.case === "lagged") {
      this.callBack(this.options.onLagged, frame.value.dropped, `the subscription to ${this.pattern} was too slow, dropped`);
    }
  }

  protected begin(entry: Entry): Received | undefined {
    this.done(1);
    return isExpired(entry.message) ? undefined : new Received(entry.message, entry.channel, entry.sequence);
  }

  /** Lets the service send as many more as are done with, half of the window at a time. */
  private done(messages: number): void {
    this.taken += messages;
    if (this.taken >= (this.credit + 1) / 2 && !this.isClosed && this.session.stream.isUp) {
      this.say({ case: "credit", value: { messages: this.taken } });
      this.taken = 0;
    }
  }

  protected closing(): void {
    if (this.session.subscriptions.delete(this.id)) {
      this.session.cancelItem(this.id, {});
    }
  }

  /** Gives each message to a handler. What it throws is logged, and hits nobody else. Ends with the subscription. */
  async each(handler: (message: Received, handling: Handling) => unknown, options: EachOptions = {}): Promise<void> {
    const { signal } = this.handlers;
    await this.work(async (message) => {
      try {
        await handler(message, { signal });
      } catch (error) {
        this.session.stream.log.error(`trunkline: a handler failed on message ${message.message.messageId} of ${message.channel}`, error);
      }
    }, options.concurrency ?? 1);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Received, void, undefined> {
    try {
      for (let came = await this.next(); came !== undefined; came = await this.next()) {
        yield came;
      }
      this.throwEnd();
    } finally {
      this.close();
    }
  }
}
