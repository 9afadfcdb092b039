import type { MessageInitShape } from "@bufbuild/protobuf";
import { timestampFromDate, type Duration } from "@bufbuild/protobuf/wkt";

import { invalid, TrunklineError, fromItem } from "./errors.js";
import type { SubscribeResponse, SubscribeResponse_Deliveries, StartInit } from "./frames.js";
import type { DurableSettingsSchema } from "./gen/trunkline/v1/durable_pb.js";
import { clean, duration, isExpired, milliseconds, Received } from "./message.js";
import type { Session } from "./session.js";
import { Interest, type EachOptions, type Entry, type Handling, type SubscribeOptions } from "./subscription.js";

const ACK_WAIT = 30_000;
const ACKED_FOR = 5_000; // acks that were sent so lately are sent again after a reconnect
const MAX_SETTLED = 10_000; // sequences that one frame names

/** How a durable subscription delivers; `ackWait` in milliseconds, all else as the contract has it. */
export interface DurableOptions extends SubscribeOptions {
  /** Where it begins, if it is made here: with what is published from now on (the default), with all, a sequence, or a time. */
  from?: "new" | "all" | bigint | Date;
  /** Milliseconds of a lease, if it is made here. */
  ackWait?: number;
  /** Deliveries after which a message is a dead letter, if it is made here. */
  maxDeliveries?: number;
  /** The other settings, as the contract has them. */
  settings?: MessageInitShape<typeof DurableSettingsSchema>;
  /** Told when the durable subscription is paused, and when it goes on. */
  onPaused?: (isPaused: boolean) => void;
}

/**
 * A message that a durable subscription handed to this client. It is settled once: by one of its methods, by what its handler
 * does, or acked by the next step of the loop. Until then its lease is extended automatically.
 */
export class Leased extends Received {
  /** @internal */
  isSettled = false;

  constructor(entry: Entry, private readonly durable: DurableSubscription) {
    super(entry.message, entry.channel, entry.sequence);
    this.attempt = entry.attempt;
  }

  /** The how many-th time it is handed out, from 1. */
  readonly attempt: number;

  /**
   * Says that it is done. Settling twice is no error.
   *
   * @throws TrunklineError STALE_ACK: it was handed on before.
   */
  ack(): void {
    this.durable.settle(this, () => this.durable.ackLater(this));
  }

  /** Says that it failed, and shall be tried again: by the subscription's backoff, or after so many milliseconds. */
  nak(why: unknown = "", delay?: number): void {
    const error = clean(why instanceof Error ? `${why.name}: ${why.message}` : String(why));
    const value = { ...this.place(), error, ...(delay === undefined ? {} : { delay: duration(delay) }) };
    this.durable.settle(this, () => this.durable.tellBus({ case: "nak", value }));
  }

  /** Says that it can never be done: it becomes a dead letter now, with the reason. */
  terminate(reason: string): void {
    const value = { ...this.place(), reason: clean(reason) };
    this.durable.settle(this, () => this.durable.tellBus({ case: "terminate", value }));
  }

  /** Says that it was not begun: somebody else gets it, and no attempt is counted. */
  release(): void {
    const value = this.place();
    this.durable.settle(this, () => this.durable.tellBus({ case: "release", value }));
  }

  /** Lets its lease end so many milliseconds from now. It is extended automatically while it is held. */
  extend(lease?: number): void {
    if (this.isSettled) {
      throw this.stale();
    }
    this.durable.tellBus({ case: "extend", value: { ...this.place(), ...(lease === undefined ? {} : { lease: duration(lease) }) } });
  }

  private place(): { sequences: bigint[]; attempt: number } {
    return { sequences: [this.sequence], attempt: this.attempt };
  }

  /** @internal */
  stale(): TrunklineError {
    const details = { durable: this.durable.name, sequence: String(this.sequence), attempt: String(this.attempt) };
    return new TrunklineError("STALE_ACK", `message ${this.sequence} of ${this.durable.name}, attempt ${this.attempt}, is not held any more`, details);
  }
}

/**
 * Stored messages: at least once. The durable subscription keeps them until they are settled, also while nobody is connected.
 * Read them in a `for await`, whose next step acks the message before, or give each to a handler.
 */
export class DurableSubscription extends Interest<Leased> implements AsyncIterable<Leased> {
  private readonly attempts = new Map<bigint, number>(); // of what is held
  private readonly given = new Map<bigint, Leased>(); // of that, what was handed out
  private ackWait = ACK_WAIT;
  private extendedAt = 0; // when all leases began anew for the last time
  private due = 0;
  private timer: NodeJS.Timeout | undefined;
  private isPaused = false;
  private acks = new Map<number, bigint[]>(); // what is to be acked, by attempt
  private sentAcks: { at: number; attempt: number; sequences: bigint[] }[] = [];
  private readonly repeated = new Set<bigint>(); // acks that were sent again: the service may know them
  private freed = 0; // settled since credit was granted last

  constructor(session: Session, pattern: string, readonly name: string, protected override readonly options: DurableOptions) {
    super(session, pattern, options, 2);
    if (name === "" || name.length > 255) {
      throw invalid("INVALID_MESSAGE", "durable", name, "a durable subscription has a name of 1 to 255 characters");
    }
  }

  protected startOf(): StartInit {
    this.freed = 0;
    const { from = "new", ackWait, maxDeliveries, settings } = this.options;
    const hasSettings = ackWait !== undefined || maxDeliveries !== undefined || settings !== undefined;
    return {
      durable: this.name,
      credit: Math.max(1, this.credit - this.attempts.size),
      ...(from === "new" ? {} : { position: { position: positionOf(from) } }),
      ...(hasSettings ? {
        settings: {
          ...settings,
          ...(ackWait === undefined ? {} : { ackWait: duration(ackWait) }),
          ...(maxDeliveries === undefined ? {} : { maxDeliveries }),
        },
      } : {}),
    };
  }

  /** Says again what may not have arrived: what is held is extended, and late acks are sent again. */
  protected override started(): void {
    this.extend();
    this.repeated.clear();
    for (const { attempt, sequences } of this.sentAcks) {
      put(this.acks, attempt, ...sequences);
      sequences.forEach((each) => this.repeated.add(each));
    }
    this.sentAcks = [];
    this.session.touch(this);
  }

  takeLast(frame: SubscribeResponse["frame"]): void {
    if (!this.isClosed) { // else what it brings stays leased until its time is over
      this.freed -= frame.case === "deliveries" ? frame.value.messages.length : 0; // those had the credit of that stream
      this.takeNow(frame);
    }
  }

  protected override get held(): number {
    return this.given.size;
  }

  /** @internal */
  tellBus(frame: Parameters<DurableSubscription["say"]>[0]): void {
    this.say(frame);
  }

  /** @internal */
  ackLater(leased: Leased): void {
    put(this.acks, leased.attempt, leased.sequence);
  }

  /** @internal */
  settle(leased: Leased, say: () => void): void {
    if (leased.isSettled) {
      return;
    }
    leased.isSettled = true;
    if (this.attempts.get(leased.sequence) !== leased.attempt) {
      throw leased.stale();
    }
    say();
    this.free(leased.sequence);
  }

  /** Forgets a message: it is settled, or lost. */
  private free(sequence: bigint): void {
    this.attempts.delete(sequence);
    this.given.delete(sequence);
    this.freed += 1;
    this.restTimer();
    this.rest();
    this.session.touch(this);
  }

  override gather(): void {
    const now = performance.now();
    this.sentAcks = this.sentAcks.filter((each) => now - each.at <= ACKED_FOR);
    const acks = this.acks;
    this.acks = new Map();
    byAttempt(acks, (attempt, sequences) => {
      this.say({ case: "ack", value: { attempt, sequences } });
      this.sentAcks.push({ at: now, attempt, sequences });
    });
    if (this.freed > 0 && !this.hasEnded) {
      this.say({ case: "credit", value: { messages: this.freed } });
      this.freed = 0;
    }
  }

  protected arrived(came: SubscribeResponse_Deliveries): Entry[] {
    const cameAt = performance.now();
    const entries = came.messages.map((message, at) => {
      const sequence = came.firstSequence + BigInt(at);
      this.attempts.set(sequence, came.attempt);
      return { message, channel: came.channel, sequence, attempt: came.attempt, cameAt };
    });
    if (this.isClosed) { // they were on their way when it was closed
      this.closing();
      return [];
    }
    if (this.timer === undefined) {
      this.arm();
    }
    return entries;
  }

  protected override other(frame: SubscribeResponse["frame"]): void {
    switch (frame.case) {
      case "started":
        this.now(frame.value.ackWait, frame.value.paused);
        break;
      case "changed":
        this.now(frame.value.ackWait, frame.value.paused ?? this.isPaused);
        break;
      case "refused": {
        const { sequences, attempt, error } = frame.value;
        const lost = sequences.filter((each) => this.attempts.get(each) === attempt);
        lost.forEach((each) => this.lose(each));
        if (lost.length > 0 || !sequences.every((each) => this.repeated.has(each))) {
          this.tell(fromItem(error)); // else: acked before the stream was lost, and again when it came back
        }
        break;
      }
    }
  }

  private now(ackWait: Duration | undefined, isPaused: boolean): void {
    if (ackWait !== undefined && milliseconds(ackWait) !== this.ackWait) {
      this.ackWait = milliseconds(ackWait);
      if (this.timer !== undefined) {
        clearTimeout(this.timer);
        this.extend();
        this.arm();
      }
    }
    if (isPaused !== this.isPaused) {
      this.isPaused = isPaused;
      this.callBack(this.options.onPaused, isPaused, `the durable subscription ${this.name} is paused or resumed`);
    }
  }

  /** Gives up a message: it is another subscriber's now, or waits for one. */
  private lose(sequence: bigint): void {
    const given = this.given.get(sequence);
    if (given !== undefined) {
      given.isSettled = true;
    }
    this.free(sequence);
  }

  protected begin(entry: Entry): Leased | undefined {
    if (this.attempts.get(entry.sequence) !== entry.attempt) {
      return undefined; // its lease was lost while it waited here
    }
    if (performance.now() - Math.max(entry.cameAt, this.extendedAt) > this.ackWait) { // another may be at it by now
      this.lose(entry.sequence);
      return undefined;
    }
    const leased = new Leased(entry, this);
    this.given.set(entry.sequence, leased);
    if (isExpired(entry.message)) {
      leased.terminate("its TTL was over while it waited for a handler");
      return undefined;
    }
    return leased;
  }

  /** Gives back what was not begun. */
  protected closing(): void {
    const unstarted = new Map<number, bigint[]>();
    for (const [sequence, attempt] of this.attempts) {
      if (!this.given.has(sequence)) {
        put(unstarted, attempt, sequence);
        this.attempts.delete(sequence);
      }
    }
    byAttempt(unstarted, (attempt, sequences) => this.say({ case: "release", value: { attempt, sequences } }));
    this.restTimer();
  }

  protected override abandoning(): void {
    for (const leased of [...this.given.values()]) {
      leased.nak("the client closed before the message was settled", 0);
    }
  }

  /** Lets all leases begin anew. */
  private extend(): void {
    if (this.attempts.size === 0 || !this.session.stream.isUp) {
      return;
    }
    this.extendedAt = performance.now();
    const all = new Map<number, bigint[]>();
    this.attempts.forEach((attempt, sequence) => put(all, attempt, sequence));
    byAttempt(all, (attempt, sequences) => this.say({ case: "extend", value: { attempt, sequences } }));
  }

  private arm(): void {
    this.due = performance.now() + this.ackWait / 3;
    this.timer = setTimeout(() => this.onTime(), this.ackWait / 3);
  }

  private onTime(): void {
    this.timer = undefined;
    if (performance.now() - this.due > this.ackWait / 3) { // this process stood still: what was not begun may be with another
      for (const sequence of [...this.attempts.keys()]) {
        if (!this.given.has(sequence)) {
          this.lose(sequence);
        }
      }
    }
    if (this.session.subscriptions.has(this.id) && this.attempts.size > 0) {
      this.extend();
      this.arm();
    }
  }

  private restTimer(): void {
    if (this.attempts.size === 0) {
      clearTimeout(this.timer);
      this.timer = undefined;
    }
  }

  /**
   * Gives each message to a handler: one that returns acks, one that throws naks with its error. So many at once; ends with
   * the subscription.
   */
  async each(handler: (message: Leased, handling: Handling) => unknown, options: EachOptions = {}): Promise<void> {
    const concurrency = options.concurrency ?? 1;
    const more = 2 * concurrency - this.credit;
    if (this.options.credit === undefined && more > 0) {
      this.credit += more;
      this.freed += more;
      this.session.touch(this);
    }
    const { signal } = this.handlers;
    await this.work(async (leased) => {
      try {
        await handler(leased, { signal });
        this.settled(() => leased.ack());
      } catch (error) {
        this.session.stream.log.error(`trunkline: a handler failed on message ${leased.message.messageId}, attempt ${leased.attempt}`, error);
        this.settled(() => leased.nak(error));
      }
    }, concurrency);
  }

  /** What was handed on before it was settled is told, and not thrown. */
  private settled(settle: () => void): void {
    try {
      settle();
    } catch (error) {
      this.tell(error as TrunklineError);
    }
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Leased, void, undefined> {
    try {
      for (let came = await this.next(); came !== undefined; came = await this.next()) {
        const leased = came;
        yield leased;
        this.settled(() => leased.ack());
      }
      this.throwEnd();
    } finally {
      this.close();
    }
  }
}

function positionOf(from: "all" | bigint | Date) {
  if (from === "all") {
    return { case: "all", value: true } as const;
  }
  return typeof from === "bigint" ? { case: "sequence", value: from } as const : { case: "time", value: timestampFromDate(from) } as const;
}

function put(into: Map<number, bigint[]>, attempt: number, ...sequences: bigint[]): void {
  const all = into.get(attempt);
  if (all === undefined) {
    into.set(attempt, sequences);
  } else {
    all.push(...sequences);
  }
}

/** Says something of messages, in as many frames as it takes. */
function byAttempt(of: Map<number, bigint[]>, say: (attempt: number, sequences: bigint[]) => void): void {
  for (const [attempt, all] of of) {
    for (let at = 0; at < all.length; at += MAX_SETTLED) {
      say(attempt, all.slice(at, at + MAX_SETTLED));
    }
  }
}
