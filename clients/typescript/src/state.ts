import { create, fromBinary, toBinary, type MessageInitShape } from "@bufbuild/protobuf";
import { randomUUID } from "node:crypto";

import { again, pausesOf } from "./again.js";
import { Connection, MAX_FRAME_BYTES, type ConnectOptions } from "./connection.js";
import { fromItem, TrunklineError, tooLarge } from "./errors.js";
import {
  OpenStateStreamRequestSchema, OpenStateStreamResponseSchema, RecordKind,
  type OpenStateStreamRequest_ClientItemSchema, type OpenStateStreamResponse, type OpenStateStreamResponse_ServerItem,
  type FilterSchema, type Record as StateRecord, type SaveRequestSchema,
} from "./gen/trunkline/v1/state_pb.js";
import { duration, type MessageInit } from "./message.js";
import { Stream, type StreamUser } from "./stream.js";
import { watch, type Change, type WatchOptions } from "./watch.js";
import { timeLeft, type CallOptions, type TimeLeft } from "./waiting.js";

const FETCHED = 1000; // records of one page, where the caller does not say
const MAX_CALL_BYTES = MAX_FRAME_BYTES / 2;

export { RecordKind, type StateRecord };

/** What a list or a watch keeps. */
export type Filter = MessageInitShape<typeof FilterSchema>;

/** What is saved: one of agentState, workflowState, taskResult and agentPresence, such as `{ case: "agentState", value: { agentId: "a" } }`. */
export type SaveValue = Exclude<NonNullable<MessageInitShape<typeof SaveRequestSchema>["value"]>, { case: undefined }>;

/** A lease that is held with a number. */
export interface Hold {
  name: string;
  number: bigint;
}

/** What a save shall hold to. */
export interface SaveOptions extends CallOptions {
  /** Fails with REVISION_MISMATCH unless the record has this revision; 0n: unless there is none. Default: the last write wins. */
  expectedRevision?: bigint;
  /** Messages that are published with the save: all of it happens or nothing. */
  publish?: readonly { channel: string; message: MessageInit }[];
  /** Milliseconds after its last save or touch at which the record ends. */
  ttl?: number;
  /** Ends the record with a lease, which must be held. */
  lease?: Hold;
  /** Refuses the write with LEASE_LOST unless a lease is held. */
  fence?: Hold;
}

/** One page of a list. */
export interface Page {
  records: StateRecord[];
  /** Of the next page; empty on the last one. */
  token: string;
}

type Item = NonNullable<MessageInitShape<typeof OpenStateStreamRequest_ClientItemSchema>["item"]>;

/** Connects to a state service or a sidecar; see connectBus. */
export async function connectState(address: string, options: ConnectOptions = {}): Promise<State> {
  const state = new State(address, options);
  await state.stream.open();
  return state;
}

/**
 * Keeps what agents must find again. While the connection is lost, calls wait for it within their timeout; one that was pending
 * fails with STATE_DISCONNECTED, and it is not known whether its write was made. What the service refuses for now, with OVERLOADED
 * and `retry_after` among the details, is asked again then; a call whose time is over by then fails with it at once.
 *
 * Where the service asks for it, it moves to another connection, and so to another replica: calls go out there when those before
 * them are answered, so that nobody reads there what was before a write here; watches go on there.
 */
export class State {
  private now: Line;
  private isMoving = false;
  private readonly leaving = new Set<Line>(); // those that another has taken the place of
  private readonly closing = new AbortController();
  private readonly pause = pausesOf(() => this.stream);
  /** @internal Lets each watch go on by the connection of now. */
  readonly watches = new Set<() => void>();

  /** @internal Use {@link connectState}. */
  constructor(private readonly address: string, private readonly options: ConnectOptions) {
    this.now = this.line({});
  }

  private line(changed: Partial<ConnectOptions>): Line {
    const connection = new Connection(this.address, { ...this.options, ...changed }, "STATE_DISCONNECTED");
    return new Line(connection, () => this.moveIfAsked());
  }

  /** @internal */
  get stream(): Stream<OpenStateStreamResponse> {
    return this.now.stream;
  }

  /** Makes a unary call of StateService for which there is no method here, such as `state.call(StateService.method.getStateStats, {})`. */
  readonly call: Connection["unary"] = (method, request, options = {}) => {
    const left = timeLeft(options);
    return again(left, () => this.stream.unary(method, request, left()), this.pause);
  };

  /** Whether the connection is up. */
  get isConnected(): boolean {
    return this.stream.isUp;
  }

  /** Ends the connection; watches end, and what is pending fails. */
  async close(): Promise<void> {
    this.closing.abort();
    await Promise.all([this.now, ...this.leaving].map((each) => each.stream.close()));
  }

  /** Saves one record whole, and returns its revision: answered when it is as durable as the service makes it. */
  async save(value: SaveValue, options: SaveOptions = {}): Promise<bigint> {
    const { expectedRevision, publish = [], ttl, lease, fence } = options;
    const save = {
      value,
      publish: publish.map(({ channel, message }) => ({ channel, message: { ...message, messageId: message.messageId || randomUUID() } })),
      ...(expectedRevision === undefined ? {} : { expectedRevision }),
      ...(ttl === undefined ? {} : { ttl: duration(ttl) }),
      ...(lease === undefined ? {} : { lease }),
      ...(fence === undefined ? {} : { fence }),
    };
    const answered = await this.ask({ case: "save", value: save }, options);
    return answered.case === "saved" ? answered.value.revision : unexpected();
  }

  /** Returns one record; undefined where there is none. */
  async get(kind: RecordKind, id: string, options: CallOptions = {}): Promise<StateRecord | undefined> {
    try {
      const answered = await this.ask({ case: "get", value: { kind, id } }, options);
      return answered.case === "got" ? answered.value.record : unexpected();
    } catch (error) {
      if (error instanceof TrunklineError && error.reason === "NOT_FOUND") {
        return undefined;
      }
      throw error;
    }
  }

  /** Deletes one record, and tells whether there was one. Without an expected revision it is deleted whatever it is. */
  async delete(kind: RecordKind, id: string, options: CallOptions & { expectedRevision?: bigint } = {}): Promise<boolean> {
    const { expectedRevision } = options;
    const value = { kind, id, ...(expectedRevision === undefined ? {} : { expectedRevision }) };
    const answered = await this.ask({ case: "delete", value }, options);
    return answered.case === "deleted" ? answered.value.deleted : unexpected();
  }

  /** Returns one page of the records of a kind, in order of their ids. Without a size, it is the service's own. */
  async page(kind: RecordKind, options: CallOptions & { filter?: Filter; size?: number; token?: string } = {}): Promise<Page> {
    const { filter, size, token = "" } = options;
    const value = { kind, pageToken: token, ...(filter ? { filter } : {}), ...(size === undefined ? {} : { pageSize: size }) };
    const answered = await this.ask({ case: "list", value }, options);
    return answered.case === "listed" ? { records: answered.value.records, token: answered.value.nextPageToken } : unexpected();
  }

  /** Yields the records of a kind in order of their ids, page by page. */
  async *list(kind: RecordKind, options: CallOptions & { filter?: Filter } = {}): AsyncGenerator<StateRecord, void, undefined> {
    let token = "";
    do {
      const page = await this.page(kind, { ...options, size: FETCHED, token });
      yield* page.records;
      token = page.token;
    } while (token !== "");
  }

  /**
   * Yields the records of some kinds (none: agent states, workflow states and task results), then "synced", then each change in
   * order of revisions, until the signal is aborted, the loop is left or the state closed. Where the connection is lost, or the
   * service ends the stream since it is read too slowly, it goes on where it was, without gaps and without repetition.
   *
   * @throws TrunklineError COMPACTED: the changes after the revision are no longer kept.
   */
  watch(kinds: readonly RecordKind[] = [], options: WatchOptions = {}): AsyncGenerator<Change, void, undefined> {
    return watch(this, kinds, options);
  }

  /** Sends one item and returns what answers it. */
  private ask(item: Item, options: CallOptions): Promise<OpenStateStreamResponse_ServerItem["item"]> {
    const left = timeLeft(options);
    return again(left, () => this.askOnce(item, left), this.pause);
  }

  private async askOnce(item: Item, left: TimeLeft): Promise<OpenStateStreamResponse_ServerItem["item"]> {
    const late = (): Error =>
      new TrunklineError("STATE_DISCONNECTED", `${this.stream.connection.at.text} did not answer in time`);
    let { stream } = this;
    do {
      ({ stream } = this);
      await stream.waitUp(left(), late);
      await stream.pace(left());
    } while (stream !== this.stream); // it moved meanwhile
    stream.check();
    const id = stream.nextId();
    const encoded = toBinary(OpenStateStreamRequestSchema, create(OpenStateStreamRequestSchema, { items: [{ id, item } as MessageInitShape<typeof OpenStateStreamRequest_ClientItemSchema>] }));
    if (encoded.length > MAX_CALL_BYTES) {
      throw tooLarge("call", encoded.length, MAX_CALL_BYTES);
    }
    const answered = stream.answer<OpenStateStreamResponse_ServerItem["item"]>(id, left(), late);
    stream.put(encoded, false);
    return answered;
  }

  /** @internal The service asks to go on elsewhere. */
  askedToMove(): void {
    this.now.isAsked = true;
    this.moveIfAsked();
  }

  private moveIfAsked(): void {
    if (!this.now.isAsked || this.isMoving || this.closing.signal.aborted) {
      return;
    }
    this.isMoving = true;
    const { log } = this.stream;
    this.move(this.now).catch((error: unknown) => { // a defect here must not end the connection that there is
      log.error("trunkline: the connection was not moved: something unexpected went wrong here", error);
    }).finally(() => {
      this.isMoving = false;
      this.moveIfAsked();
    });
  }

  private async move(old: Line): Promise<void> {
    const { signal } = this.closing;
    const { lives } = old.stream;
    const now = await old.stream.elsewhere(async () => {
      const made = this.line({ wait: false, signal }); // it may be the replica that stops
      made.stream.isQuiet = true;
      await made.stream.open();
      return made;
    }, signal);
    if (now === undefined || signal.aborted || !old.stream.isUp || old.stream.lives !== lives) {
      old.isAsked = false;
      await now?.stream.close();
      return;
    }
    now.stream.hold();
    now.stream.replace(old.stream);
    this.now = now;
    this.leaving.add(old);
    this.watches.forEach((goOn) => goOn());
    await old.stream.untilChanged(() => !old.stream.isUp || !old.stream.isPending, signal);
    now.stream.release();
    void old.stream.leave().finally(() => this.leaving.delete(old));
  }
}

/** One connection of a state. */
class Line implements StreamUser<OpenStateStreamResponse> {
  readonly stream: Stream<OpenStateStreamResponse>;
  isAsked = false; // the service asked it to move

  /** @param askedToMove - Told that the service asks to go on elsewhere. */
  constructor(connection: Connection, private readonly askedToMove: () => void) {
    this.stream = new Stream(connection, "/trunkline.v1.StateService/OpenStateStream", this);
  }

  parse(bytes: Buffer): OpenStateStreamResponse {
    return fromBinary(OpenStateStreamResponseSchema, bytes);
  }

  take(frame: OpenStateStreamResponse): void {
    for (const { id, item } of frame.items) {
      if (item.case === "error") {
        this.stream.fail(id, fromItem(item.value));
      } else if (item.case === "move") {
        this.isAsked = true;
        this.askedToMove();
      } else if (item.case !== undefined) { // else of a newer service
        this.stream.settle(id, item);
      }
    }
  }

  wentUp(): void {
    this.isAsked = false;
  }

  wentDown(): void {}
  gather(): void {}
}

function unexpected(): never {
  throw new TrunklineError("INTERNAL", "the service answered something else than was asked");
}
