import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";

import type { LifeEvent } from "./gen/trunkline/v1/life_pb.js";
import type { Session } from "./session.js";
import { Deferred, reasonOf, until, type CallOptions } from "./waiting.js";

export type { LifeEvent };

const PART_CREDIT = 256; // parts that may be on their way to who asked, and not read
const GRANT_AT = PART_CREDIT / 2; // parts that were read, at which as many more are granted
const REQUEST_STREAM = 7; // ClientItem.request_stream

/** A request whose life is followed: the events that came and were not read. Of progress that nobody has read, the newest is kept. */
export class Asking {
  private readonly id: bigint;
  private events: LifeEvent[] = [];
  private arrived = new Deferred<void>();
  private read = 0; // parts that were read since more were granted
  private isOver = false;
  private failed: Error | undefined; // why it has no end

  /** @param request - An encoded RequestRequest. */
  constructor(private readonly session: Session, request: Uint8Array) {
    session.stream.check();
    this.id = session.stream.nextId();
    session.asking.set(this.id, this);
    const body = new BinaryWriter().tag(1, WireType.LengthDelimited).bytes(request).finish(); // RequestStreamRequest.request
    session.putEncoded(this.id, REQUEST_STREAM, body);
  }

  take(events: readonly LifeEvent[], isEnd: boolean): void {
    for (const each of events) {
      if (each.event.case === "progress" && this.events.at(-1)?.event.case === "progress") {
        this.events.pop();
      }
      if (each.event.case !== undefined) { // else of a newer service
        this.events.push(each);
      }
    }
    if (isEnd) {
      this.end();
    }
    this.wake();
  }

  /** No more comes. */
  end(why?: Error): void {
    this.isOver = true;
    this.failed = why;
    this.session.asking.delete(this.id);
    this.wake();
  }

  private wake(): void {
    this.arrived.resolve();
    this.arrived = new Deferred<void>();
  }

  /** Returns the next event; undefined behind the end. Behind what came it throws why the request failed. */
  async next(options: CallOptions, late: () => Error): Promise<LifeEvent | undefined> {
    for (;;) {
      if (options.signal?.aborted) {
        throw reasonOf(options.signal);
      }
      const event = this.events.shift();
      if (event !== undefined) {
        this.grant(event);
        return event;
      }
      if (this.failed !== undefined) {
        throw this.failed;
      }
      if (this.isOver) {
        return undefined;
      }
      await until(this.arrived.promise, options, late);
    }
  }

  private grant({ event }: LifeEvent): void {
    this.read += event.case === "part" ? 1 : 0;
    if (this.read >= GRANT_AT && !this.isOver) {
      this.session.sayItem({ id: this.id, item: { case: "requestCredit", value: { parts: this.read } } });
      this.read = 0;
    }
  }

  /** Nobody reads on: cancels the request, unless it is over. */
  leave(): void {
    if (!this.isOver) {
      this.end();
      this.session.cancelItem(this.id, {});
      this.session.stream.hasChanged();
    }
  }
}
