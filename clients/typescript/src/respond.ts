import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";

import { fromItem, invalid, TrunklineError } from "./errors.js";
import type { SubscribeResponse, SubscribeResponse_Deliveries, StartInit } from "./frames.js";
import type { SubscribeResponse_Requested } from "./gen/trunkline/v1/bus_pb.js";
import { LifeEventSchema, type LifeEvent } from "./gen/trunkline/v1/life_pb.js";
import { clean, encodeMessage, isExpired, milliseconds, Received, type MessageInit } from "./message.js";
import { Interest, type EachOptions, type Entry, type SubscribeOptions } from "./subscription.js";
import type { Session } from "./session.js";
import { FRAME_BYTES } from "./stream.js";
import { Deferred, until } from "./waiting.js";

const SIGNS_OF_LIFE = 3; // within an idle timeout, while a handler runs and says nothing itself
const MAX_REPORTED = 1_000; // events that one answer brings

/** How requests are answered. */
export interface RespondOptions extends SubscribeOptions, EachOptions {
  /** Responders that name the same group of one pattern share its requests. */
  group?: string;
  /** What the responder calls itself. Default: the name of the client. */
  name?: string;
}

/**
 * What a handler of requests throws where who asked shall get a code, and whether the same may be asked again with hope. Any
 * other error fails a request with its name and its text.
 */
export class Failure extends Error {
  override readonly name = "Failure";

  /**
   * @param code - For programs, such as "MODEL_OVERLOADED".
   * @param message - For people.
   */
  constructor(readonly code: string, message: string, readonly retryable = false) {
    super(message);
  }
}

/** A request that this client answers. */
export class Request extends Received {
  constructor(entry: Entry, private readonly asked: Asked) {
    super(entry.message, entry.channel, entry.sequence);
    this.attempt = asked.requested.attempt;
  }

  /** The how many-th time it is handed out, from 1. */
  readonly attempt: number;

  /** Aborted at the request's deadline, and when nobody waits for its answer any more. */
  get signal(): AbortSignal {
    return this.asked.stopped.signal;
  }

  /** Says how far it is, from 0 to 1 and never less than before; of several that wait to be sent the last one counts. */
  progress(fraction: number, text = ""): void {
    this.asked.progress(fraction, text);
  }

  /** Sends a piece of the outcome to who asked, in order; waits while those before are not read. */
  async part(message: MessageInit): Promise<void> {
    await this.asked.part(message);
  }
}

/** Answers a request with what it returns; nothing means that it is done. */
export type RequestHandler = (request: Request) => MessageInit | void | undefined | Promise<MessageInit | void | undefined>;

interface AskedEntry extends Entry {
  asked: Asked;
}

type Event = NonNullable<MessageInitShape<typeof LifeEventSchema>["event"]>;

/** One request while it is answered. */
class Asked {
  readonly id: string;
  readonly stopped = new AbortController();
  events: LifeEvent[] = [];
  isCalledOff = false;
  isOver = false;
  isBegun = false;
  private credit: number;
  private credited = new Deferred<void>();
  private fraction = 0;
  readonly deadline: number;

  constructor(private readonly responder: Responder, readonly way: Way, readonly requested: SubscribeResponse_Requested, id: string) {
    this.id = id;
    this.credit = requested.credit ?? Infinity;
    this.deadline = performance.now() + (requested.timeout ? milliseconds(requested.timeout) : 0);
  }

  grant(parts: number): void {
    this.credit += parts;
    this.wake();
  }

  progress(fraction: number, text: string): void {
    if (!(fraction >= this.fraction && fraction <= 1)) {
      throw invalid("INVALID_MESSAGE", "fraction", String(fraction), `fraction is ${fraction}, it must be from ${this.fraction} to 1`);
    }
    this.fraction = fraction;
    if (this.events.at(-1)?.event.case === "progress") {
      this.events.pop();
    }
    this.put({ case: "progress", value: { fraction, text: clean(text) } });
  }

  async part(message: MessageInit): Promise<void> {
    const named = this.named(message);
    this.responder.check(named);
    while (this.credit <= 0 && !this.isOver) {
      await until(this.credited.promise, { signal: this.stopped.signal, timeout: Infinity });
    }
    if (this.isOver) {
      throw new TrunklineError("REQUEST_NOT_FOUND", `nobody waits for the answer to request ${this.id} any more`, { request_id: this.id });
    }
    this.credit -= 1;
    this.put({ case: "part", value: { message: named } });
  }

  /** An answer that carries the request's correlation id, as each answer does. */
  named(message: MessageInit): MessageInit {
    return message.correlationId ? message : { ...message, correlationId: this.id };
  }

  put(event: Event): void {
    if (!this.isOver) {
      this.events.push(create(LifeEventSchema, { event } as MessageInitShape<typeof LifeEventSchema>));
      this.responder.tellLater(this);
    }
  }

  end(event: Event): void {
    this.put(event);
    this.isOver = true;
    this.wake();
  }

  callOff(why = new TrunklineError("REQUEST_CANCELLED", `request ${this.id} was called off`, { request_id: this.id })): void {
    this.isCalledOff = this.isOver = true;
    this.events = [];
    this.wake();
    this.stopped.abort(why);
  }

  private wake(): void {
    this.credited.resolve();
    this.credited = new Deferred<void>();
  }
}

/** A subscription's item on one stream. */
export interface Way {
  readonly session: Session;
  readonly id: bigint;
}

/**
 * Answers requests, each on the stream on which it came. It is lost with its stream: who asked hears so, and what runs is called
 * off.
 */
export class Responder extends Interest<AskedEntry> {
  private readonly askedBy = new Map<string, Asked>(); // by request id: what was handed out, and is not over
  private readonly saying = new Set<Asked>(); // those that have something to say with the next frame
  private taken = 0;
  /** @internal Its item on the stream of now. */
  way: Way;
  private source: Way | undefined; // the item of another stream whose frame is taken now
  private readonly left = new Map<Way, () => void>(); // streams that it has left, and what is told when nothing is answered there
  private readonly counted = new Map<Way, number>(); // of other streams: messages taken since credit was granted there
  private readonly spares = new Map<string, AskedEntry>(); // came a second time, on another stream: taken if the first is called off

  /** @internal */
  constructor(session: Session, pattern: string, private readonly handler: RequestHandler, protected override readonly options: RespondOptions) {
    super(session, pattern, options, Math.max(1, options.concurrency ?? 1));
    this.way = { session, id: this.id };
  }

  /** @internal Answers until it is ended. */
  answerAll(): void {
    this.work((entry) => this.answer(entry), this.options.concurrency ?? 1).catch(() => undefined); // its end was told
  }

  protected startOf(): StartInit {
    this.taken = 0;
    return this.wanted(Math.max(1, this.credit - this.waiting));
  }

  /** @internal What is asked of the service, with a credit. */
  wanted(credit: number): StartInit {
    return { group: this.options.group ?? "", responder: true, credit };
  }

  /** @internal Goes on by another way. What was begun on the one before is answered there; `tell` is called when all of it is. */
  goOn(way: Way, tell: () => void): void {
    const before = this.way;
    this.way = way;
    this.moveTo(way.session, way.id);
    this.taken = this.counted.get(way) ?? 0;
    this.counted.clear();
    this.done(0);
    this.letGoAll(before, true);
    this.left.set(before, tell);
    this.lookAnswered();
  }

  takeLast(): void {} // see LeavingResponder: what is handed to it there still goes to others

  private get arrivingBy(): Way {
    return this.source ?? this.way;
  }

  /** @internal Takes a frame of another stream than that of now. */
  takeFrom(way: Way, frame: SubscribeResponse["frame"]): void {
    this.source = way;
    this.takeNow(frame);
    this.source = undefined;
  }

  /** @internal A stream is lost: who asked there hears so, and what runs is called off. */
  lose(way: Way): void {
    this.left.delete(way);
    this.counted.delete(way);
    this.letGoAll(way, false);
  }

  private letGoAll(way: Way, butBegun: boolean): void {
    for (const [id, spare] of this.spares) {
      if (spare.asked.way === way) {
        this.spares.delete(id);
      }
    }
    for (const asked of [...this.askedBy.values()]) {
      if (asked.way === way && !(butBegun && asked.isBegun)) {
        this.letGo(asked);
      }
    }
  }

  /** Answers a request no more, unless it came on another stream too. */
  private letGo(asked: Asked, why?: TrunklineError): void {
    this.askedBy.delete(asked.id);
    this.saying.delete(asked);
    asked.callOff(why);
    const spare = this.spares.get(asked.id);
    if (spare !== undefined) {
      this.spares.delete(asked.id);
      this.askedBy.set(asked.id, spare.asked);
      this.count(spare.asked.way, -1); // it counted as taken while it was in reserve
      this.push(2, [spare]);
    }
  }

  private lookAnswered(): void {
    for (const [way, tell] of [...this.left]) {
      if (![...this.askedBy.values()].some((each) => each.way === way)) {
        this.left.delete(way);
        tell();
      }
    }
  }

  /** Counts messages that were taken, for the credit of the stream that brought them. */
  private count(way: Way, messages: number): void {
    if (way === this.way) {
      this.done(messages);
    } else {
      this.counted.set(way, (this.counted.get(way) ?? 0) + messages);
    }
  }

  protected arrived(came: SubscribeResponse_Deliveries): AskedEntry[] {
    const way = this.arrivingBy;
    const entries = came.requests.flatMap((requested) => {
      const message = came.messages[requested.index];
      if (message === undefined) {
        return [];
      }
      const asked = new Asked(this, way, requested, message.correlationId);
      const sequence = came.firstSequence + BigInt(requested.index);
      const entry = { message, channel: came.channel, sequence, attempt: requested.attempt, cameAt: 0, asked };
      if (this.askedBy.has(asked.id)) {
        this.spares.set(asked.id, entry);
        return [];
      }
      if (!this.isClosed) {
        this.askedBy.set(asked.id, asked);
      }
      return [entry];
    });
    this.count(way, came.messages.length - entries.length);
    return entries;
  }

  private done(messages: number): void {
    this.taken += messages;
    if (this.taken >= (this.credit + 1) / 2 && !this.isClosed && this.session.stream.isUp) {
      this.say({ case: "credit", value: { messages: this.taken } });
      this.taken = 0;
    }
  }

  protected begin(entry: AskedEntry): AskedEntry | undefined {
    this.count(entry.asked.way, 1);
    return entry.asked.isCalledOff || isExpired(entry.message) ? undefined : entry;
  }

  protected override other(frame: SubscribeResponse["frame"]): void {
    switch (frame.case) {
      case "partCredit":
        if (this.askedBy.get(frame.value.requestId)?.way === this.arrivingBy) {
          this.askedBy.get(frame.value.requestId)!.grant(frame.value.parts);
        }
        break;
      case "calledOff":
        this.callOff(frame.value.requestId);
        break;
      case "refusedResponse": { // who asked would miss its events, its end too
        const why = fromItem(frame.value.error);
        this.callOff(frame.value.requestId);
        if (why.reason !== "REQUEST_NOT_FOUND") { // else it came too late
          this.tell(why);
          this.respond(this.arrivingBy, frame.value.requestId, [create(LifeEventSchema, { event: failureOf(why, false) } as MessageInitShape<typeof LifeEventSchema>)]);
        }
        break;
      }
    }
  }

  private callOff(id: string): void {
    const asked = this.askedBy.get(id);
    if (asked?.way === this.arrivingBy) {
      this.letGo(asked);
      this.lookAnswered();
    } else if (this.spares.get(id)?.asked.way === this.arrivingBy) {
      this.spares.delete(id);
    }
  }

  private respond(way: Way, requestId: string, events: LifeEvent[]): void {
    way.session.sayOf(way.id, { case: "respond", value: { requestId, events } });
  }

  /** @internal */
  tellLater(asked: Asked): void {
    this.saying.add(asked);
    asked.way.session.touch(this);
  }

  /** @internal Throws where an answer cannot be sent. */
  check(message: MessageInit): void {
    encodeMessage(message, this.session.maxMessageBytes);
  }

  override gather(): void {
    for (const asked of this.saying) {
      const events = asked.events;
      asked.events = [];
      do {
        let size = 0;
        let count = 0;
        while (count < events.length && count < MAX_REPORTED && (count === 0 || size <= FRAME_BYTES)) {
          size += toBinary(LifeEventSchema, events[count]!).length;
          count += 1;
        }
        this.respond(asked.way, asked.id, events.splice(0, count));
      } while (events.length > 0);
      if (asked.isOver) {
        this.askedBy.delete(asked.id);
        this.spares.delete(asked.id);
      }
    }
    this.saying.clear();
    this.lookAnswered();
  }

  override streamLost(): void {
    this.forget();
    this.lose(this.way);
  }

  /** Takes nothing more; what was accepted is still answered. */
  protected closing(): void {
    this.spares.clear();
    for (const [id, asked] of this.askedBy) {
      if (!asked.isBegun) {
        this.askedBy.delete(id);
      }
    }
    if (this.session.subscriptions.has(this.id)) {
      this.gather();
      this.session.cancelItem(this.id, { finish: true });
    }
  }

  /** Calls off what runs: who asked hears that its responder is lost, and not how its handler took that. */
  protected override abandoning(): void {
    for (const asked of [...this.askedBy.values()].filter((each) => !each.isOver)) {
      this.letGo(asked);
    }
    this.lookAnswered();
  }

  /** Calls a request off whose time is over: who asked waits no more. */
  private late(asked: Asked): void {
    if (this.askedBy.get(asked.id) === asked) {
      this.spares.delete(asked.id);
      this.letGo(asked, new TrunklineError("REQUEST_TIMEOUT", `the deadline of request ${asked.id} is over`));
      this.lookAnswered();
    }
  }

  private async answer(entry: AskedEntry): Promise<void> {
    const { asked } = entry;
    asked.isBegun = true;
    asked.put({ case: "accepted", value: { responder: this.options.name ?? this.session.stream.connection.clientName } });
    const left = Math.min(Math.max(asked.deadline - performance.now(), 0), 2 ** 31 - 1);
    const ends = setTimeout(() => this.late(asked), left);
    const idle = asked.requested.idleTimeout;
    const beat = idle && setInterval(() => { // an answer without events is a sign of life
      if (!asked.isOver) {
        this.tellLater(asked);
      }
    }, Math.max(milliseconds(idle) / SIGNS_OF_LIFE, 1));
    try {
      const reply = await this.handler(new Request(entry, asked));
      const message = reply === undefined ? undefined : asked.named(reply);
      if (message !== undefined) {
        this.check(message); // an answer that cannot be sent is a failure
      }
      asked.end({ case: "result", value: message === undefined ? {} : { message } });
    } catch (error) {
      if (!asked.isCalledOff) {
        this.session.stream.log.error(`trunkline: a handler failed on request ${asked.id}`, error);
        asked.end(failureOf(error, asked.requested.traceback));
      }
    } finally {
      clearTimeout(ends);
      clearInterval(beat);
    }
  }
}

function failureOf(error: unknown, hasTraceback: boolean): Event {
  const known = error instanceof Failure ? { code: error.code, retryable: error.retryable }
    : error instanceof TrunklineError ? { code: error.reason, retryable: error.retryable } : {};
  const type = error instanceof Error ? error.name : typeof error;
  const text = error instanceof Error ? error.message : String(error);
  const traceback = hasTraceback && error instanceof Error ? error.stack ?? "" : "";
  return { case: "failure", value: { type: clean(type), text: clean(text), traceback: clean(traceback), ...known } };
}
