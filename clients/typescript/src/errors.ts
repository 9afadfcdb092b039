import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { status, type ServiceError } from "@grpc/grpc-js";

import { ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { StatusSchema } from "./gen/google/rpc/status_pb.js";
import type { Error as Item } from "./gen/trunkline/v1/error_pb.js";

const DOMAIN = "trunkline";
const DETAILS = "grpc-status-details-bin";
const RETRYABLE = new Set([
  "BUS_DISCONNECTED", "STATE_DISCONNECTED", "OVERLOADED", "STORAGE_UNAVAILABLE", "KEYS_UNAVAILABLE", "NO_RESPONDERS",
  "REQUEST_TIMEOUT", "RESPONDER_LOST",
]);

/**
 * Names what went wrong, as every client and the wire do. docs/errors.md says when each comes. One that a newer service made
 * passes as it is.
 */
export type Reason =
  | "INVALID_CHANNEL" | "INVALID_MESSAGE" | "INVALID_RECORD" | "INVALID_ADDRESS" | "TLS" | "MESSAGE_TOO_LARGE"
  | "NO_RESPONDERS" | "REQUEST_TIMEOUT" | "REQUEST_FAILED" | "REQUEST_CANCELLED" | "REQUEST_NOT_FOUND" | "RESPONDER_LOST"
  | "TASK_NOT_FOUND" | "NOT_FOUND" | "REVISION_MISMATCH" | "LEASE_HELD" | "LEASE_LOST" | "STALE_ACK" | "SUBSCRIPTION_EXISTS"
  | "SUBSCRIPTION_NOT_FOUND" | "DEAD_LETTER_NOT_FOUND" | "COMPACTED" | "OVERLOADED" | "STORAGE" | "STORAGE_UNAVAILABLE"
  | "BUS_DISCONNECTED" | "STATE_DISCONNECTED" | "UNAUTHENTICATED" | "KEYS_UNAVAILABLE" | "PERMISSION_DENIED" | "INTERNAL"
  | (string & {});

/** What a service, or this package, says went wrong. */
export class TrunklineError extends Error {
  override readonly name = "TrunklineError";

  /**
   * @param reason - The word for programs.
   * @param message - For people: what was wrong, naming the field and the value.
   * @param details - The figures, such as "size" and "limit", as text.
   */
  constructor(
    readonly reason: Reason,
    message: string,
    readonly details: Readonly<Record<string, string>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /**
   * Whether the same call may succeed later without a change: the connection was lost, a limit was reached, whoever held a
   * request is gone, or a handler said so of its failure. What became of a call whose connection was lost is not known:
   * repeat it where it may be done twice.
   */
  get retryable(): boolean {
    return RETRYABLE.has(this.reason) || (this.reason === "REQUEST_FAILED" && this.details["retryable"] === "true");
  }
}

/** Whether an error is one of this package with a reason; without one, any of this package. */
export function isTrunklineError(error: unknown, reason?: Reason): error is TrunklineError {
  return error instanceof TrunklineError && (reason === undefined || error.reason === reason);
}

/** Whether an error is one of this package after which the same call may succeed. */
export function isRetryable(error: unknown): boolean {
  return error instanceof TrunklineError && error.retryable;
}

export function invalid(reason: Reason, field: string, value: string, message: string): TrunklineError {
  return new TrunklineError(reason, message, { field, value });
}

export function tooLarge(what: string, size: number, limit: number): TrunklineError {
  const details = { size: String(size), limit: String(limit) };
  return new TrunklineError("MESSAGE_TOO_LARGE", `the ${what} has ${size} bytes, at most ${limit} are allowed`, details);
}

/** What a service said of one item of a stream. */
export function fromItem(item: Item | undefined): TrunklineError {
  return new TrunklineError(item?.reason ?? "INTERNAL", item?.message ?? "", { ...item?.metadata });
}

/** The error of a call as this package has it. `lost` is the reason where the service cannot be reached. */
export function fromCall(error: unknown, lost: Reason): Error {
  if (error instanceof TrunklineError || !isServiceError(error)) {
    return error instanceof Error ? error : new Error(String(error));
  }
  const told = toldBy(error);
  if (told !== undefined) {
    return told;
  }
  const details = { grpc_status: status[error.code] };
  const options = { cause: error };
  switch (error.code) {
    case status.UNAVAILABLE:
    case status.CANCELLED:
      return new TrunklineError(lost, `the service is unavailable: ${error.details}`, details, options);
    case status.DEADLINE_EXCEEDED:
      return new TrunklineError("REQUEST_TIMEOUT", "no answer came before the deadline", details, options);
    case status.RESOURCE_EXHAUSTED:
      if (error.details.includes("larger than max") || error.details.includes("larger message")) {
        return new TrunklineError("MESSAGE_TOO_LARGE", `over gRPC's size limit: ${error.details}`, details, options);
      }
      return new TrunklineError("OVERLOADED", error.details, details, options);
    default:
      return new TrunklineError(status[error.code] ?? "UNKNOWN", error.details, details, options);
  }
}

function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "metadata" in error;
}

/** What the ErrorInfo says; undefined where there is none of ours. */
function toldBy(error: ServiceError): TrunklineError | undefined {
  for (const raw of error.metadata?.get(DETAILS) ?? []) {
    try {
      const said = fromBinary(StatusSchema, typeof raw === "string" ? Buffer.from(raw) : raw);
      for (const detail of said.details) {
        const info = anyUnpack(detail, ErrorInfoSchema);
        if (info?.domain === DOMAIN) {
          return new TrunklineError(info.reason, said.message, { ...info.metadata }, { cause: error });
        }
      }
    } catch {
      return undefined; // a proxy's or a stranger's detail under our key; the status itself still says what happened
    }
  }
  return undefined;
}
