import type { Bus } from "./bus.js";
import type { ConnectOptions } from "./connection.js";
import { DurableSubscription } from "./durable.js";
import { TrunklineError } from "./errors.js";
import type { SubscribeResponse } from "./frames.js";
import { Responder, type Way } from "./respond.js";
import type { Session, Visitor } from "./session.js";
import { Subscription, type Entry, type Interest } from "./subscription.js";
import { DEFAULT_CALL, Deferred, sleep, until, type CallOptions } from "./waiting.js";

const CONFIRM = 10_000; // what a new session has to confirm all subscriptions
const LINGER = 100; // how long a session stays that has nothing under way: somebody may be about to use it still
const KNOWN = 60_000; // how long it is known what came on the stream before

type Frame = SubscribeResponse["frame"];
type Live = Subscription | Responder;

/**
 * Moves a bus from one session to another, when the service asks for it, without anything lost, doubled or failed.
 *
 * The new session's stream goes over a connection of its own, so that another replica may answer. It asks for what is live, and
 * waits until all of that is confirmed; until then nothing has changed. Then, at one moment, it takes the old one's place: there
 * subscriptions end behind their last message, and a ping says when what was published there has arrived at all replicas. Until
 * that is answered, what goes out by the new one waits. Durable subscriptions begin there behind their end here, for nothing of
 * theirs can be missed; what is leased stays leased. The old session then ends what is under way: requests, answers, receipts.
 */
export class Mover {
  private readonly leaving = new Set<Session>(); // those that another has taken the place of
  private moving: Promise<void> | undefined;
  private readonly staying = new AbortController(); // aborted when the bus is closed: it moves no more
  private isMade = false; // the new session has the old one's place, of the move that goes on

  constructor(private readonly bus: Bus, private readonly begin: (changed: Partial<ConnectOptions>) => Session) {}

  /** The sessions that are open. */
  get sessions(): Session[] {
    return [this.bus.now, ...this.leaving];
  }

  /** Begins to move where the session of now was asked to. */
  moveIfAsked(): void {
    const { now } = this.bus;
    if (!now.isAsked || this.moving !== undefined || this.staying.signal.aborted) {
      return;
    }
    this.moving = this.move(now).catch((error: unknown) => { // a defect here must not end the connection that there is
      now.stream.log.error("trunkline: the connection was not moved: something unexpected went wrong here", error);
    }).finally(() => {
      this.moving = undefined;
      this.moveIfAsked();
    });
  }

  /** Ends a move, or waits for its end where it is made; it moves no more. */
  async stay(options: CallOptions): Promise<void> {
    this.staying.abort();
    if (this.moving !== undefined && this.isMade) {
      await until(this.moving, { ...options, timeout: options.timeout ?? DEFAULT_CALL }).catch(() => undefined); // it is closed anyhow
    }
  }

  private async move(old: Session): Promise<void> {
    const { signal } = this.staying;
    this.isMade = false;
    await Promise.all([...old.subscriptions.values()].map((each) => each.handover?.finished.promise)); // of the move before
    const now = await old.stream.elsewhere(() => this.confirm(old, signal), signal);
    if (now === undefined) {
      old.isAsked = false;
      return;
    }
    try {
      await old.ping(true, { timeout: Infinity });
    } catch (error) {
      now.refused ??= error as TrunklineError;
    }
    now.refused ??= old.refused; // told with the next flush
    now.stream.release();
    void this.windUp(old);
  }

  /** Opens a session, which takes the old one's place when it serves all that is live there. */
  private async confirm(old: Session, signal: AbortSignal): Promise<Session> {
    const { lives } = old.stream;
    const now = this.begin({ wait: false, signal }); // it may be the replica that stops
    now.stream.isQuiet = true;
    await now.stream.open();
    const coming = new Map<Live, Coming>();
    try {
      let isServed = false; // a stream that was let in can have been refused a moment later
      for (;;) {
        const missing = liveOf(old).filter((each) => !coming.has(each)).map((each) => new Coming(each, now));
        missing.forEach((each) => coming.set(each.subscription, each));
        if (now.isAway || !now.stream.isUp || now.stream.lives !== 1) {
          throw now.stream.connection.disconnected(now.isAway ? "the bus is away there" : "it was lost while it was being confirmed");
        }
        if (signal.aborted || !old.stream.isUp || old.stream.lives !== lives) {
          throw old.stream.connection.disconnected("it was lost or closed");
        }
        if (isServed && missing.length === 0) {
          break; // and nothing begins on the old one meanwhile
        }
        const options = { signal, timeout: CONFIRM };
        await Promise.all(missing.map((each) => until(each.started.promise, options)));
        await now.ping(false, options);
        isServed = true;
      }
    } catch (error) {
      coming.forEach((each) => each.giveUp());
      await now.stream.close();
      throw error;
    }
    this.handOver(old, now, coming);
    return now;
  }

  /** Lets a session take the old one's place. */
  private handOver(old: Session, now: Session, coming: Map<Live, Coming>): void {
    now.stream.hold();
    old.gatherTouched();
    for (const [id, each] of [...old.subscriptions]) {
      if (each.isClosed || each.hasEnded) {
        continue;
      }
      old.subscriptions.delete(id);
      if (each instanceof DurableSubscription) {
        old.visitors.set(id, new Leaving(each));
        old.cancelItem(id, {});
        each.moveTo(now, now.stream.nextId());
        now.subscriptions.set(each.id, each);
        each.start();
        continue;
      }
      const live = each as unknown as Live;
      const come = coming.get(live)!;
      coming.delete(live);
      now.visitors.delete(come.way.id);
      now.subscriptions.set(come.way.id, each);
      old.cancelItem(id, { finish: true });
      if (live instanceof Responder) {
        old.visitors.set(id, new LeavingResponder(live, live.way));
        live.goOn(come.way, () => old.cancelItem(id, { nothingBegun: true }));
      } else {
        live.moveTo(now, come.way.id);
        live.handover = come.handover!;
        live.handover.isMoved = true;
        old.visitors.set(id, new Leaving(live, live.handover));
        live.moved();
      }
    }
    for (const { way } of coming.values()) { // those that were ended meanwhile
      now.visitors.delete(way.id);
      now.cancelItem(way.id, {});
    }
    now.stream.replace(old.stream);
    this.leaving.add(old);
    this.bus.now = now;
    this.isMade = true;
  }

  /** Closes a session that another has taken the place of, when nothing is under way there any more. */
  private async windUp(old: Session): Promise<void> {
    const { stream } = old;
    const isOver = (): boolean => old.isIdle || !stream.isUp;
    do {
      await stream.untilChanged(isOver, stream.signal);
      await sleep(LINGER, stream.signal);
    } while (!isOver() && !stream.signal.aborted);
    await stream.leave();
    this.leaving.delete(old);
  }
}

/** The live subscriptions that go on. */
function liveOf(session: Session): Live[] {
  return [...session.subscriptions.values()].filter(
    (each): each is any => !(each instanceof DurableSubscription) && !each.isClosed && !each.hasEnded,
  );
}

/** A live subscription that begins on the new session, and still counts on the old one. */
class Coming implements Visitor {
  readonly way: Way;
  readonly started = new Deferred<void>();
  readonly handover: Handover | undefined;

  constructor(readonly subscription: Live, session: Session) {
    this.way = { session, id: session.stream.nextId() };
    if (subscription instanceof Subscription) {
      if (subscription.isShared) {
        subscription.handover = this.handover = new Handover(subscription);
      } else {
        subscription.overlap ??= new Overlap();
        subscription.overlap.begin();
        this.handover = new Handover(subscription, subscription.overlap);
      }
    }
    session.visitors.set(this.way.id, this);
    const start = { pattern: subscription.pattern, ...subscription.wanted(subscription.credit) };
    session.sayOf(this.way.id, { case: "start", value: start });
  }

  take(frame: Frame): void {
    if (frame.case === "started") {
      this.started.resolve();
    } else if (this.handover !== undefined) {
      this.handover.holdNew(frame);
    } else {
      (this.subscription as Responder).takeFrom(this.way, frame);
    }
  }

  end(why?: TrunklineError): void {
    this.started.reject(why ?? new TrunklineError("BUS_DISCONNECTED", `the subscription to ${this.subscription.pattern} ended before it began`));
  }

  /** Lets the old session go on alone. */
  giveUp(): void {
    this.way.session.visitors.delete(this.way.id);
    if (this.subscription instanceof Responder) {
      this.subscription.lose(this.way);
    } else {
      this.subscription.handover = undefined;
      this.handover?.forget();
    }
  }
}

/** A subscription that has left its session, which still brings the last of it. */
class Leaving implements Visitor {
  constructor(private readonly subscription: Interest<any>, private readonly handover?: Handover) {}

  take(frame: Frame): void {
    this.subscription.takeLast(frame);
  }

  end(): void {
    if (this.handover !== undefined) {
      this.subscription.handover = undefined;
      this.handover.finish();
    }
  }
}

/**
 * A responder that has left its session, and answers there what it has begun with. What is handed to it there still is passed
 * over: the service takes that back, and gives it to others.
 */
class LeavingResponder implements Visitor {
  constructor(private readonly responder: Responder, private readonly way: Way) {}

  take(frame: Frame): void {
    if (frame.case !== "deliveries") {
      this.responder.takeFrom(this.way, frame);
    }
  }

  end(why?: TrunklineError): void {
    if (why !== undefined) {
      this.responder.lose(this.way);
    }
  }
}

/**
 * Holds back what comes until the stream has ended that is left: for a while both streams have a subscription. Of a group each
 * stream brings what the other does not: both wait, and what has come is put in order, for one publisher's sequences rise. Of
 * others both may bring the same: what is known from the one that is left is left out.
 */
export class Handover {
  private frames: Frame[] = [];
  /** Whether the new stream is the one that counts. */
  isMoved = false;
  /** Messages of the old stream that wait here. */
  lastHeld = 0;
  readonly finished = new Deferred<void>();

  /** @param overlap - What both streams may bring. Without it each brings its own. */
  constructor(private readonly subscription: Subscription, private readonly overlap?: Overlap) {}

  /** Keeps a frame of the stream that counts. */
  hold(frame: Frame): void {
    if (this.isMoved) {
      this.holdNew(frame);
    } else {
      this.holdLast(frame);
    }
  }

  holdNew(frame: Frame): void {
    this.frames.push(frame);
  }

  holdLast(frame: Frame): void {
    this.lastHeld += frame.case === "deliveries" ? frame.value.messages.length : 0;
    this.frames.push(frame);
  }

  /** Gives out what waits: the old stream has brought its last. */
  finish(): void {
    const { frames } = this;
    this.frames = [];
    if (this.overlap !== undefined) {
      this.overlap.end();
    } else {
      frames.sort((a, b) => Number(sequenceOf(a) - sequenceOf(b)));
    }
    frames.forEach((each) => this.subscription.takeHeld(each));
    this.finished.resolve();
  }

  /** Lets the old stream go on: the new one is given up. */
  forget(): void {
    if (this.overlap === undefined) {
      this.finish();
      return;
    }
    this.overlap.forget();
    this.frames = [];
    this.finished.resolve();
  }
}

function sequenceOf(frame: Frame): bigint {
  return frame.case === "deliveries" ? frame.value.firstSequence : 0n;
}

/** What two streams may both bring of one subscription, by its sequences, which are the same at all replicas. */
export class Overlap {
  private came: Set<bigint> | undefined; // what comes on the stream that is about to be left; undefined: it was left
  private known: { until: number; sequences: Set<bigint> }[] = [];

  /** From now on the other stream may bring what this one does. */
  begin(): void {
    this.came ??= new Set();
  }

  /** This stream has brought its last. */
  end(): void {
    if (this.came !== undefined && this.came.size > 0) {
      this.known.push({ until: performance.now() + KNOWN, sequences: this.came });
    }
    this.came = undefined;
  }

  /** The other stream is given up: it has brought nothing. */
  forget(): void {
    this.came = undefined;
  }

  /** Returns what is not known. */
  sift(came: Entry[]): Entry[] {
    if (this.known.length > 0 && this.known[0]!.until < performance.now()) {
      this.known.shift();
    }
    const unknown = this.known.length === 0 ? came : came.filter(({ sequence }) => !this.known.some((each) => each.sequences.has(sequence)));
    if (this.came !== undefined) {
      unknown.forEach(({ sequence }) => this.came!.add(sequence));
    }
    return unknown;
  }
}
