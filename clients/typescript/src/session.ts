import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { Metadata } from "@grpc/grpc-js";

import { waitOf } from "./again.js";
import type { Asking } from "./asking.js";
import type { Connection } from "./connection.js";
import { fromItem, TrunklineError } from "./errors.js";
import type { SubscribeRequestInit, SubscribeResponse } from "./frames.js";
import {
  OpenStreamRequestSchema, OpenStreamResponseSchema, Durability, PublishRequestSchema,
  type OpenStreamRequest_CancelSchema, type OpenStreamRequest_ClientItemSchema, type OpenStreamResponse, type Receipt,
} from "./gen/trunkline/v1/bus_pb.js";
import { FRAME_BYTES, Stream, type StreamUser } from "./stream.js";
import type { Interest } from "./subscription.js";
import type { CallOptions, Deferred } from "./waiting.js";

export const FRAME_MESSAGES = 512;
const MIB = 1024 * 1024;

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

/** Takes what comes for an item whose subscription is another session's: it is about to come here, or has left. */
export interface Visitor {
  take(frame: SubscribeResponse["frame"]): void;
  /** No more comes; without a reason: as it was asked for. */
  end(why?: TrunklineError): void;
}

/** What a bus has open on one stream. */
export class Session implements StreamUser<OpenStreamResponse> {
  readonly stream: Stream<OpenStreamResponse>;
  readonly subscriptions = new Map<bigint, Interest<any>>();
  readonly visitors = new Map<bigint, Visitor>();
  readonly asking = new Map<bigint, Asking>();
  private readonly touched = new Set<Interest<any>>(); // those that have something to say with the next frame
  private group: Group | undefined;
  private readonly receipts = new Map<bigint, Group>();
  refused: TrunklineError | undefined; // the first one of something live since the last flush
  private isUnconfirmed = false; // something live was published that the service may not have taken
  isAway = false; // a sidecar took the stream while the bus is away
  isAsked = false; // the service asked it to move

  /** @param askedToMove - Told that the service asks to go on elsewhere. */
  constructor(connection: Connection, private readonly askedToMove: () => void) {
    this.stream = new Stream(connection, "/trunkline.v1.BusService/OpenStream", this);
  }

  get maxMessageBytes(): number {
    return this.stream.connection.options.maxMessageBytes ?? 4 * MIB;
  }

  /** Whether nothing is under way here any more. */
  get isIdle(): boolean {
    const open = [this.visitors, this.subscriptions, this.asking, this.receipts];
    return open.every((each) => each.size === 0) && this.group === undefined && !this.stream.isBusy;
  }

  /** Adds a live message. */
  addLive(channel: string, encoded: Uint8Array): void {
    this.isUnconfirmed = true;
    this.groupFor(channel, false).add(encoded);
    this.sealFull();
  }

  /** Returns when all before it was taken, and with `sent` has arrived at all replicas. */
  async ping(sent: boolean, options: CallOptions): Promise<void> {
    this.stream.check();
    const id = this.stream.nextId();
    const answered = this.stream.answer<void>(id, options);
    this.sayItem({ id, item: { case: "ping", value: { sent } } });
    await answered;
    this.isUnconfirmed = this.group !== undefined && !this.group.isStored;
  }

  /** Lets an encoded item go out with the next frame, behind all that was published. */
  putEncoded(id: bigint, field: number, body: Uint8Array): void {
    this.seal();
    this.stream.put(itemFrame(id, field, body), false);
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
  addStored(channel: string, call: Waiter): void {
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
  seal(): void {
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
  sayItem(item: MessageInitShape<typeof OpenStreamRequest_ClientItemSchema>): void {
    this.seal();
    this.stream.put(toBinary(OpenStreamRequestSchema, create(OpenStreamRequestSchema, { items: [item] })), false);
  }

  sayOf(id: bigint, frame: SubscribeRequestInit["frame"]): void {
    this.sayItem({ id, item: { case: "subscribe", value: { frame } } });
  }

  cancelItem(id: bigint, how: MessageInitShape<typeof OpenStreamRequest_CancelSchema>): void {
    this.sayItem({ id, item: { case: "cancel", value: how } });
  }

  touch(subscription: Interest<any>): void {
    this.touched.add(subscription);
    this.stream.schedule();
  }

  parse(bytes: Buffer): OpenStreamResponse {
    return fromBinary(OpenStreamResponseSchema, bytes);
  }

  gather(): void {
    this.gatherTouched();
    this.seal();
  }

  gatherTouched(): void {
    const touched = [...this.touched];
    this.touched.clear();
    touched.forEach((each) => each.gather());
  }

  wentUp(greeting: Metadata): void {
    this.isAsked = false;
    this.isAway = greeting.get("trunkline-bus")[0] === "away";
    const kept = this.stream.waiting;
    const { group } = this;
    this.stream.waiting = [];
    this.group = undefined; // nothing of it goes before the subscriptions
    this.subscriptions.forEach((each) => each.start());
    this.stream.waiting.push(...kept);
    this.group = group;
  }

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
    for (const id of [...this.visitors.keys()]) {
      this.endVisit(id, why);
    }
    for (const each of [...this.asking.values()]) {
      each.end(why);
    }
    for (const [id, each] of this.subscriptions) {
      each.streamLost();
      if (this.stream.closed !== undefined) {
        this.subscriptions.delete(id);
        each.end(why);
      }
    }
  }

  take(frame: OpenStreamResponse): void {
    for (const { id, item } of frame.items) {
      switch (item.case) {
        case "subscription":
          (this.subscriptions.get(id) ?? this.visitors.get(id))?.take(item.value.frame);
          break;
        case "cancelled":
          this.endVisit(id);
          break;
        case "published":
          this.takeReceipts(id, item.value.receipts);
          break;
        case "requestEvents":
          this.asking.get(id)?.take(item.value.events, false);
          break;
        case "requestEnd":
          this.asking.get(id)?.take(item.value.events, true);
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
        case "move":
          this.isAsked = true;
          this.askedToMove();
          break;
      }
    }
    this.stream.hasChanged();
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
    const wait = waitOf(said);
    if (subscription?.hasStarted && wait !== undefined) {
      this.startAgain(subscription, wait); // the service may not know yet that the stream is lost on which it was open
    } else if (subscription !== undefined) {
      this.subscriptions.delete(id);
      subscription.end(said);
    } else if (this.visitors.has(id)) {
      this.endVisit(id, said);
    } else if (this.asking.has(id)) {
      this.asking.get(id)!.end(said);
    } else if (group !== undefined) {
      this.receipts.delete(id);
      this.stream.slowDown(said);
      this.refuse(group, said);
    } else if (!this.stream.fail(id, said) && id === 0n) { // something live was refused
      this.stream.log.error(`trunkline: the service refused a message: ${said.message}`);
      this.refused ??= said;
      this.stream.slowDown(said);
    }
  }

  private endVisit(id: bigint, why?: TrunklineError): void {
    const visits = this.visitors.get(id);
    this.visitors.delete(id);
    visits?.end(why);
  }

  /** Asks for a subscription that was refused for now, unless it was asked for since. */
  private startAgain(subscription: Interest<any>, wait: number): void {
    const { lives } = this.stream;
    setTimeout(() => {
      if (this.stream.isUp && this.stream.lives === lives && this.subscriptions.get(subscription.id) === subscription) {
        subscription.start();
      }
    }, wait);
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

export function withIndex(error: TrunklineError, index: number): TrunklineError {
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
