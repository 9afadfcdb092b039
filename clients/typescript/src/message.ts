import { randomUUID } from "node:crypto";

import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { DurationSchema, timestampDate, type Duration } from "@bufbuild/protobuf/wkt";

import { invalid, tooLarge } from "./errors.js";
import { MessageSchema, Priority, type Message } from "./gen/trunkline/v1/message_pb.js";

export { Priority, type Message };

/** What a message can be made of: any of its fields. */
export type MessageInit = MessageInitShape<typeof MessageSchema>;

const MAX_ORDERING_KEY = 255;
const TEXTS = ["messageId", "messageType", "senderId", "recipientId", "correlationId", "contentType", "metadataJson", "orderingKey"] as const;

/** Makes a message whose payload is a value as JSON, with what else it shall have. */
export function json(value: unknown, fields: MessageInit = {}): Message {
  const text = JSON.stringify(value);
  if (text === undefined) {
    throw invalid("INVALID_MESSAGE", "payload", String(value), `the payload is ${typeof value}, which JSON cannot say`);
  }
  return create(MessageSchema, { ...fields, payload: { case: "json", value: text } });
}

/** The JSON of a message's payload as text; neither payload means an empty object, as everywhere. Bytes are read as UTF-8. */
export function text(message: Message): string {
  switch (message.payload.case) {
    case "json":
      return message.payload.value;
    case "data":
      return new TextDecoder().decode(message.payload.value);
    default:
      return "{}";
  }
}

/**
 * Reads the JSON of a message's payload. Numbers are JavaScript's: integers beyond 2^53 lose digits, and `text` has them.
 *
 * @throws TrunklineError INVALID_MESSAGE: the payload is no JSON.
 */
export function read(message: Message): any {
  try {
    return JSON.parse(text(message));
  } catch (error) {
    const id = message.messageId;
    throw invalid("INVALID_MESSAGE", "payload", id, `the payload of message ${JSON.stringify(id)} is no JSON: ${String(error)}`);
  }
}

/** A message as a subscriber, or who asked, gets it. */
export class Received {
  constructor(
    readonly message: Message,
    /** Where it was published; empty: an answer to who asked alone. */
    readonly channel: string,
    /** Its place in the order of all messages that the service took. 0: an answer. */
    readonly sequence: bigint,
  ) {}

  /** The payload's JSON, read; see {@link read}. */
  get payload(): any {
    return read(this.message);
  }

  /** The payload's JSON as text, where integers beyond 2^53 are whole. */
  get text(): string {
    return text(this.message);
  }
}

/** Whether a message is past its TTL, which counts from its time. */
export function isExpired(message: Message): boolean {
  if (message.ttlSeconds === undefined || message.timestamp === undefined) {
    return false;
  }
  return Date.now() > timestampDate(message.timestamp).getTime() + 1000 * message.ttlSeconds;
}

/** Checks and encodes a message. With `isNamed`, one without an id gets one: it stays the same where it is sent again. */
export function encodeMessage(
  init: MessageInit, limit: number, isNamed = false, correlation = false,
): { encoded: Uint8Array; id: string } {
  const message = create(MessageSchema, init);
  const named = create(MessageSchema, { ...message });
  if (isNamed && named.messageId === "") {
    named.messageId = randomUUID();
  }
  if (correlation && named.correlationId === "") {
    named.correlationId = named.messageId;
  }
  checkMessage(named);
  const encoded = toBinary(MessageSchema, named);
  if (encoded.length > limit) {
    throw tooLarge("message", encoded.length, limit);
  }
  return { encoded, id: named.correlationId };
}

/** Throws INVALID_MESSAGE for what a service would refuse: it refuses a frame as a whole, and so what others publish with it. */
function checkMessage(message: Message): void {
  const wrong = (field: string, value: string, why: string): Error =>
    invalid("INVALID_MESSAGE", field, value, `${field} is ${value}, ${why}`);
  if (Priority[message.priority] === undefined) {
    throw wrong("priority", String(message.priority), "which is none");
  }
  if (message.ttlSeconds !== undefined && message.ttlSeconds < 1) {
    throw wrong("ttl_seconds", String(message.ttlSeconds), "it must be at least 1");
  }
  if (Buffer.byteLength(message.orderingKey) > MAX_ORDERING_KEY) {
    throw wrong("ordering_key", "too long", "at most 255 bytes are allowed");
  }
  for (const [field, time] of [["timestamp", message.timestamp], ["deliver_at", message.deliverAt]] as const) {
    const isTime = time === undefined
      || (time.nanos >= 0 && time.nanos < 1e9 && time.seconds >= -62135596800n && time.seconds <= 253402300799n);
    if (!isTime) {
      throw wrong(field, `${time.seconds} s ${time.nanos} ns`, "which is no time");
    }
  }
  if (message.deliverAfter !== undefined) {
    if (message.deliverAfter.seconds < 0n || message.deliverAfter.nanos < 0) {
      throw wrong("deliver_after", `${message.deliverAfter.seconds} s`, "it must be 0 or more");
    }
    if (message.deliverAt !== undefined) {
      throw wrong("deliver_after", `${message.deliverAfter.seconds} s`, "and deliver_at is set too: at most one is allowed");
    }
  }
  for (const field of TEXTS) {
    if (!message[field].isWellFormed()) {
      throw wrong(field, "no text", "it has a lone surrogate, which UTF-8 cannot say");
    }
  }
  if (message.payload.case === "json" && !message.payload.value.isWellFormed()) {
    throw wrong("json", "no text", "it has a lone surrogate, which UTF-8 cannot say");
  }
}

/** Throws INVALID_MESSAGE for what only a stored message can have. */
export function checkLive(message: MessageInit): void {
  if (message.deliverAt !== undefined || message.deliverAfter !== undefined) {
    throw invalid("INVALID_MESSAGE", "deliver_at", "set", "only a stored message can be held back: use publishStored");
  }
  if (message.orderingKey !== undefined && message.orderingKey !== "") {
    throw invalid("INVALID_MESSAGE", "ordering_key", message.orderingKey, "only a stored message has an ordering key: use publishStored");
  }
}

/** Milliseconds as the wire has them. */
export function duration(milliseconds: number): Duration {
  const nanos = BigInt(Math.round(milliseconds * 1e6));
  return create(DurationSchema, { seconds: nanos / 1_000_000_000n, nanos: Number(nanos % 1_000_000_000n) });
}

/** A duration of the wire in milliseconds. */
export function milliseconds(of: Duration): number {
  return Number(of.seconds) * 1000 + of.nanos / 1e6;
}

/** A text as the wire can carry it. */
export function clean(words: string): string {
  return words.toWellFormed();
}
