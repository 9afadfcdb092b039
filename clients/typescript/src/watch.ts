import { create } from "@bufbuild/protobuf";
import type { Timestamp } from "@bufbuild/protobuf/wkt";
import type { ClientReadableStream } from "@grpc/grpc-js";

import { waitOf } from "./again.js";
import { fromCall, isTrunklineError } from "./errors.js";
import {
  EndReason, RecordKind, StateService, WatchRequestSchema,
  type Record as StateRecord, type WatchRequest, type WatchResponse, type WatchResponse_Left,
} from "./gen/trunkline/v1/state_pb.js";
import type { Filter, State } from "./state.js";
import type { Stream } from "./stream.js";
import { reasonOf, sleep } from "./waiting.js";

const RETRY_MIN = 50;
const RETRY_MAX = 5000;

/** What a watch reports. */
export interface Change {
  /**
   * "saved": a record as it is now, at the beginning or saved since. "deleted": it is no more. "left": it was saved, and matches
   * the filter no longer. "synced": what was there has been reported; from here on, changes.
   */
  type: "saved" | "deleted" | "left" | "synced";
  /** Of the change; a watch that shall go on later begins after it. */
  revision: bigint;
  kind: RecordKind;
  id: string;
  /** That which was saved. */
  record?: StateRecord;
  /** Why a record is no more. */
  reason?: EndReason;
  /**
   * Whose write it was, as of a record: who saved it, deleted it, or released the lease that it was bound to. Unset where nobody
   * did, or that is not known.
   */
  writtenBy?: string;
  /** When it was made, by the service's clock. */
  writtenAt?: Timestamp;
}

/** What a watch reports, and what ends it. */
export interface WatchOptions {
  signal?: AbortSignal;
  /** One record; for one kind. */
  id?: string;
  /** The records that match; for one kind. */
  filter?: Filter;
  /** The changes after a revision instead of the records that are there. */
  afterRevision?: bigint;
}

export async function* watch(
  state: State, kinds: readonly RecordKind[], options: WatchOptions,
): AsyncGenerator<Change, void, undefined> {
  const { id = "", filter, afterRevision } = options;
  const cursor = new Cursor(afterRevision, filter !== undefined);
  let bound = RETRY_MIN;
  for (;;) {
    let wait = 0;
    const { stream } = state;
    const ended = options.signal ? AbortSignal.any([options.signal, stream.signal]) : stream.signal;
    if (stream.closed !== undefined) {
      throw stream.closed;
    }
    const request = create(WatchRequestSchema, { kinds: [...kinds], id, ...(filter ? { filter } : {}) });
    if (cursor.after !== undefined) {
      request.afterRevision = cursor.after;
    }
    cursor.begin();
    try {
      for await (const frame of frames(state, stream, request, ended)) {
        if (frame.frame.case === "move") {
          state.askedToMove();
        }
        for (const change of cursor.take(frame)) {
          bound = RETRY_MIN;
          yield change;
        }
      }
    } catch (error) {
      if (options.signal?.aborted) {
        throw reasonOf(options.signal);
      }
      if (!ended.aborted && !isTrunklineError(error, "STATE_DISCONNECTED") && !isTrunklineError(error, "OVERLOADED")) {
        throw error;
      }
      wait = waitOf(error) ?? 0;
    }
    if (options.signal?.aborted) {
      throw reasonOf(options.signal);
    }
    if (stream !== state.stream) {
      continue; // it goes on by another connection
    }
    if (ended.aborted) {
      throw stream.whyClosed;
    }
    await sleep(Math.max(Math.random() * bound, wait), ended);
    bound = Math.min(2 * bound, RETRY_MAX);
  }
}

/** Reads one stream to its end. */
async function* frames(
  state: State, stream: Stream<unknown>, request: WatchRequest, ended: AbortSignal,
): AsyncGenerator<WatchResponse, void, undefined> {
  let call: ClientReadableStream<WatchResponse> | undefined;
  const cancel = (): void => call?.cancel();
  ended.addEventListener("abort", cancel, { once: true });
  state.watches.add(cancel);
  try {
    call = await stream.connection.stream(StateService.method.watch, request);
    if (ended.aborted || stream !== state.stream) {
      call.cancel();
    }
    yield* call as AsyncIterable<WatchResponse>;
  } catch (error) {
    throw fromCall(error, "STATE_DISCONNECTED");
  } finally {
    ended.removeEventListener("abort", cancel);
    state.watches.delete(cancel);
    call?.on("error", () => undefined); // what comes after its end
    call?.cancel();
  }
}

/**
 * How far a watch has come, over all streams that carry it. Before "synced" a new stream begins with the records again: those
 * that were given are left out, and those that are gone are reported. After it, a new stream continues after the last revision.
 */
class Cursor {
  private readonly given = new Map<string, Change>(); // until "synced": the records that were given
  private seen = new Set<string>(); // the same of the current stream
  private isSynced = false;

  constructor(public after: bigint | undefined, private readonly isFiltered: boolean) {}

  begin(): void {
    this.seen = new Set();
  }

  take({ frame }: WatchResponse): Change[] {
    switch (frame.case) {
      case "progress":
        if (this.isSynced) {
          this.advance(frame.value.revision);
        }
        return [];
      case "synced":
        return this.sync(frame.value.revision);
      case "record":
        return this.change({
          type: "saved", revision: frame.value.revision, ...identity(frame.value), record: frame.value, ...written(frame.value),
        });
      case "left": {
        const { revision, kind, id, deleted, reason } = frame.value;
        const change = { revision, kind, id, ...written(frame.value) };
        return this.change(deleted ? { type: "deleted", reason, ...change } : { type: "left", ...change });
      }
      default:
        return [];
    }
  }

  private advance(revision: bigint): void {
    if (this.after === undefined || revision > this.after) {
      this.after = revision;
    }
  }

  private change(change: Change): Change[] {
    if (this.after !== undefined) {
      this.after = change.revision;
      return [change];
    }
    const key = `${change.kind} ${change.id}`;
    this.seen.add(key);
    if (this.given.get(key)?.revision === change.revision) {
      return [];
    }
    this.given.set(key, change);
    return [change];
  }

  private sync(revision: bigint): Change[] {
    const told: Change[] = [];
    if (this.after === undefined) {
      for (const [key, { kind, id }] of this.given) {
        if (!this.seen.has(key)) {
          told.push({ type: this.isFiltered ? "left" : "deleted", revision, kind, id });
        }
      }
    }
    this.given.clear();
    if (!this.isSynced) {
      told.push({ type: "synced", revision, kind: RecordKind.UNSPECIFIED, id: "" });
    }
    this.isSynced = true;
    this.advance(revision);
    return told;
  }
}

/** Whose write a record, or the end of one, is. */
function written({ writtenBy, writtenAt }: StateRecord | WatchResponse_Left): Pick<Change, "writtenBy" | "writtenAt"> {
  return { ...(writtenBy ? { writtenBy } : {}), ...(writtenAt ? { writtenAt } : {}) };
}

/** A record's kind and id. */
function identity({ value }: StateRecord): { kind: RecordKind; id: string } {
  switch (value.case) {
    case "agentState":
      return { kind: RecordKind.AGENT_STATE, id: value.value.agentId };
    case "workflowState":
      return { kind: RecordKind.WORKFLOW_STATE, id: value.value.workflowId };
    case "taskResult":
      return { kind: RecordKind.TASK_RESULT, id: value.value.taskId };
    case "lease":
      return { kind: RecordKind.LEASE, id: value.value.name };
    case "agentPresence":
      return { kind: RecordKind.AGENT_PRESENCE, id: value.value.agentId };
    default:
      return { kind: RecordKind.UNSPECIFIED, id: "" };
  }
}
