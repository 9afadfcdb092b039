import type { ClientDuplexStream, Metadata } from "@grpc/grpc-js";

import { waitOf } from "./again.js";
import type { Connection } from "./connection.js";
import { fromCall, TrunklineError } from "./errors.js";
import { Deferred, reasonOf, sleep, timeLeft, until, type CallOptions, type TimeLeft } from "./waiting.js";

export const FRAME_BYTES = 256 * 1024;
const BUFFER_BYTES = 4 * 1024 * 1024;
const RECONNECT_MIN = 50;
const RECONNECT_MAX = 5000;
const LOOK_AGAIN = 1000; // after which is looked whether a stream is idle, for what ends without a word

/** Is told what happens to a stream. */
export interface StreamUser<Frame> {
  /** Reads a frame. */
  parse(bytes: Buffer): Frame;
  /** Takes a frame that arrived. */
  take(frame: Frame): void;
  /** Puts what must be sent before anything else, when the stream is up, first or again. */
  wentUp(greeting: Metadata): void;
  /** Fails or keeps what was under way. */
  wentDown(why: TrunklineError): void;
  /** Puts what waits to be said into the frame that goes next. */
  gather(): void;
}

/** An encoded frame. What is kept goes out in the stream's next life where it did not in this one. */
interface Chunk {
  encoded: Uint8Array;
  isKept: boolean;
}

/** When the service takes more of what is published, which it refused for now. */
interface Turn {
  at: number;
  why: TrunklineError;
  come: Deferred<void>;
  timer: NodeJS.Timeout;
}

/**
 * The client's end of one long stream, which restores itself, with the answers that are awaited on it.
 *
 * Frames are sent one at a time, each as soon as the one before it is written: no timer. Frames are repeated fields, so that
 * encoded frames joined are one frame of all their items: what gathered while one was written is the next. An idle stream has
 * the latency of one item, a busy one sends hundreds a frame.
 */
export class Stream<Frame> {
  /** Why nothing comes any more. */
  closed: TrunklineError | undefined;
  isUp = false;
  /** How often it came up. */
  lives = 0;
  /** The user hears nothing of it. */
  isQuiet = false;
  private isGone = false; // another has taken its place: it is not restored
  private isHeld = false; // what is put waits; see hold
  private calls = 0; // beside the stream, that have not ended
  private changed: Deferred<void> | undefined; // settled when something ends here; undefined: nobody waits
  private readonly hurry = new AbortController(); // aborted where calls are not waited for any more
  waiting: Chunk[] = [];
  private size = 0;
  private lastId = 0n;
  private readonly pending = new Map<bigint, Deferred<any>>();
  private up = new Deferred<void>();
  private room: Deferred<void> | undefined;
  private turn: Turn | undefined; // for which what is published waits; undefined: the service takes it
  private call: ClientDuplexStream<Uint8Array, Frame> | undefined;
  private overloaded: Error | undefined; // why the service does not take the stream yet
  private isWriting = false;
  private isScheduled = false;
  private readonly closing = new AbortController();
  private running: Promise<void> = Promise.resolve();

  constructor(readonly connection: Connection, private readonly method: string, private readonly user: StreamUser<Frame>) {}

  /** Aborted when the stream is closed. */
  get signal(): AbortSignal {
    return this.closing.signal;
  }

  get log() {
    return this.connection.options.log ?? console;
  }

  /** Connects, and stays connected until close. */
  async open(): Promise<void> {
    const { signal, connectTimeout = 5000 } = this.connection.options;
    const first = new Deferred<void>();
    this.running = this.run(first);
    const text = this.connection.at.text;
    const late = (): Error => this.overloaded ??
      new TrunklineError(this.connection.lost, `${text} did not answer within ${connectTimeout} ms`, { address: text });
    try {
      await until(first.promise, { timeout: connectTimeout, ...(signal ? { signal } : {}) }, late);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  /** Ends the stream; what is awaited fails. Idempotent. */
  async close(): Promise<void> {
    this.hurry.abort();
    await this.leave();
  }

  /** Ends the stream; the connection stays until the calls beside it have ended, or `close` is called. */
  async leave(): Promise<void> {
    this.closing.abort();
    this.call?.cancel();
    await this.running;
  }

  /** Opens the stream, again and again. */
  private async run(first: Deferred<void>): Promise<void> {
    const { connection, signal } = this;
    let isFirst = true;
    let bound = RECONNECT_MIN;
    let told = "";
    let closed = new TrunklineError(connection.lost, `disconnected from ${connection.at.text}`, { address: connection.at.text });
    while (!signal.aborted) {
      const { wasUp, error } = await this.once(isFirst ? first : undefined);
      if (signal.aborted) {
        break;
      }
      const isLost = error instanceof TrunklineError && error.reason === connection.lost;
      const wait = waitOf(error);
      this.overloaded = wait === undefined ? undefined : error;
      const refused = wasUp || !isLost ? undefined : await connection.refused(error);
      if (wasUp) {
        isFirst = false;
        bound = RECONNECT_MIN;
        this.log.info(`trunkline: ${error.message}`);
        this.notify(() => connection.options.onDisconnected?.(this.asLost(error)));
        if (this.isGone) {
          closed = this.asLost(error);
          break;
        }
      } else if (isFirst && (refused !== undefined || !(isLost || wait !== undefined) || connection.options.wait === false)) {
        first.reject(refused ?? error); // waiting longer would not help
        break;
      } else if (refused !== undefined && told !== refused.message) {
        told = refused.message;
        this.log.error(`trunkline: the connection is not restored: ${told}`);
      }
      if (!isFirst && isRefusal(error) && !(await connection.hasOtherToken())) {
        this.log.error(`trunkline: ${connection.at.text} is not called any more: ${error.message}`);
        closed = error;
        break;
      }
      await sleep(Math.max(Math.random() * bound, wait ?? 0), signal);
      bound = Math.min(2 * bound, RECONNECT_MAX);
      connection.renew();
    }
    this.closed = closed;
    this.closing.abort();
    this.goDown(closed);
    await this.untilChanged(() => this.calls === 0, this.hurry.signal);
    connection.close();
  }

  private asLost(error: Error): TrunklineError {
    const { connection } = this;
    return error instanceof TrunklineError && error.reason === connection.lost ? error : connection.disconnected(error.message, error);
  }

  /** Calls back; what that throws hits nobody else. */
  private notify(told: () => void): void {
    try {
      if (!this.isQuiet) {
        told();
      }
    } catch (error) {
      this.log.error("trunkline: a callback failed", error);
    }
  }

  /** Opens the stream and reads it to its end; tells whether it was accepted, and why it ended. */
  private async once(first: Deferred<void> | undefined): Promise<{ wasUp: boolean; error: Error }> {
    let wasUp = false;
    const ended = new Deferred<Error>();
    try {
      const call = (this.call = await this.connection.duplex(this.method, (bytes) => this.user.parse(bytes)));
      if (this.signal.aborted) {
        call.cancel();
      }
      call.once("metadata", (greeting) => { // the service sends it when it has accepted the stream
        wasUp = true;
        this.isUp = true;
        this.lives += 1;
        this.isWriting = false;
        this.user.wentUp(greeting);
        this.up.resolve();
        first?.resolve();
        if (first === undefined) {
          this.notify(() => this.connection.options.onReconnected?.());
        }
        this.schedule();
      });
      call.on("data", (frame: Frame) => this.user.take(frame));
      call.once("error", (error) => ended.resolve(fromCall(error, this.connection.lost)));
      call.once("end", () => setImmediate(() => ended.resolve(this.connection.disconnected("the service ended the stream"))));
    } catch (error) {
      return { wasUp, error: fromCall(error, this.connection.lost) };
    }
    const error = await ended.promise;
    this.call.on("error", () => undefined); // what comes after its end
    this.call.cancel();
    this.call = undefined;
    if (wasUp) {
      this.goDown(this.asLost(error));
    }
    return { wasUp, error };
  }

  /** Fails what is awaited. */
  private goDown(why: TrunklineError): void {
    if (this.isUp) {
      this.isUp = false;
      this.up = new Deferred<void>();
    }
    this.waiting = this.waiting.filter((each) => each.isKept);
    this.size = this.waiting.reduce((sum, each) => sum + each.encoded.length, 0);
    const pending = [...this.pending.values()];
    this.pending.clear();
    for (const each of pending) {
      each.reject(why);
    }
    this.user.wentDown(why);
    this.makeRoom();
    this.hasChanged();
    if (this.closed !== undefined) {
      this.up.resolve(); // whoever waits for it looks at `closed`
      this.endTurn();
    }
  }

  private makeRoom(): void {
    this.room?.resolve();
    this.room = undefined;
  }

  /** Says that there is something to send or to gather. */
  schedule(): void {
    if (this.isScheduled || this.isWriting || !this.isUp) {
      return;
    }
    this.isScheduled = true;
    queueMicrotask(() => {
      this.isScheduled = false;
      this.write();
    });
  }

  private write(): void {
    const call = this.call;
    if (this.isWriting || this.isHeld || !this.isUp || call === undefined) {
      return;
    }
    const frame = this.nextFrame();
    if (frame === undefined) {
      return;
    }
    this.isWriting = true;
    call.write(frame, () => {
      if (this.call === call) {
        this.isWriting = false;
        this.write();
      }
    });
  }

  /** Joins what waits to one frame of about FRAME_BYTES, or one that was larger when it was put. */
  private nextFrame(): Uint8Array | undefined {
    this.user.gather();
    let size = 0;
    let count = 0;
    for (const { encoded } of this.waiting) {
      if (count > 0 && size + encoded.length > FRAME_BYTES) {
        break;
      }
      size += encoded.length;
      count += 1;
    }
    if (count === 0) {
      return undefined;
    }
    const some = this.waiting.splice(0, count);
    this.size -= size;
    if (this.size <= BUFFER_BYTES / 2) {
      this.makeRoom();
    }
    return Buffer.concat(some.map((each) => each.encoded), size);
  }

  /** Lets an encoded frame go out behind all that was put before. */
  put(encoded: Uint8Array, isKept: boolean): void {
    if (!this.isUp && !isKept) {
      return;
    }
    this.waiting.push({ encoded, isKept });
    this.size += encoded.length;
    this.schedule();
  }

  /** Returns an id that nothing on this stream has. */
  nextId(): bigint {
    this.lastId += 1n;
    return this.lastId;
  }

  /** Awaits the answer to an item. Where the signal or the time ends first, `left` says what becomes of the item. */
  async answer<T>(id: bigint, options: CallOptions, late?: () => Error, left?: () => void): Promise<T> {
    const awaited = new Deferred<T>();
    this.pending.set(id, awaited);
    return until(awaited.promise, options, late, () => {
      this.pending.delete(id);
      left?.();
      this.hasChanged();
    });
  }

  /** Gives an answer to whoever awaits it, if somebody does. */
  settle(id: bigint, value: unknown): boolean {
    const awaited = this.pending.get(id);
    this.pending.delete(id);
    awaited?.resolve(value);
    this.hasChanged();
    return awaited !== undefined;
  }

  /** Gives an error to whoever awaits an answer, if somebody does. */
  fail(id: bigint, error: Error): boolean {
    const awaited = this.pending.get(id);
    this.pending.delete(id);
    awaited?.reject(error);
    this.hasChanged();
    return awaited !== undefined;
  }

  /** Whether something is on its way, or is answered yet. */
  get isBusy(): boolean {
    return this.isPending || this.calls > 0;
  }

  /** The same, but for calls beside the stream. */
  get isPending(): boolean {
    return this.pending.size > 0 || this.waiting.length > 0;
  }

  // What a move needs: a client that is asked to go elsewhere opens another stream, which takes the place of this one.

  /** Lets what is put wait until `release`, so that something else goes before it. */
  hold(): void {
    this.isHeld = true;
  }

  release(): void {
    this.isHeld = false;
    this.schedule();
  }

  /** Lets this stream take the place of another. */
  replace(old: Stream<Frame>): void {
    this.isQuiet = false;
    old.isGone = old.isQuiet = true;
  }

  /** Makes a unary call beside the stream, which is counted. */
  readonly unary: Connection["unary"] = async (method, request, options) => {
    this.calls += 1;
    try {
      return await this.connection.unary(method, request, options);
    } finally {
      this.calls -= 1;
      this.hasChanged();
    }
  };

  /** Says that something has ended here. */
  hasChanged(): void {
    this.changed?.resolve();
    this.changed = undefined;
  }

  /** Waits, until the signal is aborted, for something that is looked at whenever something has ended here. */
  async untilChanged(isSo: () => boolean, signal: AbortSignal): Promise<void> {
    while (!isSo() && !signal.aborted) {
      this.changed ??= new Deferred<void>();
      await until(this.changed.promise, { signal, timeout: LOOK_AGAIN }).catch(() => undefined); // then it is looked at again
    }
  }

  /**
   * Opens a stream that shall take the place of this one, as often as it takes. Undefined: this one was lost meanwhile, and comes
   * back by itself, or the signal is aborted.
   */
  async elsewhere<T>(open: () => Promise<T>, signal: AbortSignal): Promise<T | undefined> {
    const { lives } = this;
    for (let bound = RECONNECT_MIN; !signal.aborted && this.isUp && this.lives === lives; bound = Math.min(2 * bound, RECONNECT_MAX)) {
      try {
        return await open();
      } catch (error) {
        this.log.info(`trunkline: ${this.connection.at.text} asks to move, which cannot be done yet: ${String(error)}`);
      }
      await sleep(Math.random() * bound, signal);
    }
    return undefined;
  }

  /** Why it was closed, where it was. */
  get whyClosed(): TrunklineError {
    return this.closed ?? this.connection.disconnected("it was closed");
  }

  /** Throws why nothing can be sent now. */
  check(): void {
    if (this.closed !== undefined) {
      throw this.closed;
    }
    if (!this.isUp) {
      throw this.connection.disconnected("it is being restored");
    }
  }

  /** Waits until the stream is up. */
  async waitUp(options: CallOptions, late?: () => Error): Promise<void> {
    const left = timeLeft(options);
    while (!this.isUp) {
      if (this.closed !== undefined) {
        throw this.closed;
      }
      await until(this.up.promise, left(), late ?? (() => this.connection.disconnected("it is being restored")));
    }
  }

  /** Lets what is published wait until the service takes it, where a refusal says when that is. */
  slowDown(why: TrunklineError): void {
    const wait = waitOf(why);
    if (wait !== undefined && this.turn === undefined && this.closed === undefined) {
      const timer = setTimeout(() => this.endTurn(), wait);
      this.turn = { at: performance.now() + wait, why, come: new Deferred<void>(), timer };
    }
  }

  private endTurn(): void {
    clearTimeout(this.turn?.timer);
    this.turn?.come.resolve();
    this.turn = undefined;
  }

  /** Waits while the buffer is full, or the service takes nothing more for now; throws its refusal where the time is over by then. */
  async pace(options: CallOptions): Promise<void> {
    let left: TimeLeft | undefined;
    while (this.turn !== undefined || this.size > BUFFER_BYTES) {
      left ??= timeLeft(options);
      if (this.turn === undefined) {
        if (!this.isUp) {
          throw this.connection.disconnected(`its buffer of ${BUFFER_BYTES} bytes is full`);
        }
        this.room ??= new Deferred<void>();
        await until(this.room.promise, left());
      } else {
        const { at, why, come } = this.turn;
        if (at - performance.now() >= left().timeout) {
          throw why;
        }
        await until(come.promise, left());
      }
    }
    if (options.signal?.aborted) {
      throw reasonOf(options.signal);
    }
  }
}

/** Whether a service does not take this client. */
function isRefusal(error: Error): error is TrunklineError {
  return error instanceof TrunklineError && (error.reason === "UNAUTHENTICATED" || error.reason === "PERMISSION_DENIED");
}
