import { TrunklineError } from "./errors.js";

/** How long a call may take, and what ends it before: a signal, or milliseconds. */
export interface CallOptions {
  /** Ends the call when it is aborted. */
  signal?: AbortSignal;
  /** Milliseconds that it may take. Default: 30,000. */
  timeout?: number;
}

export const DEFAULT_CALL = 30_000;

/** Returns the options of a call, with what is left of its time. */
export type TimeLeft = () => CallOptions & { timeout: number };

/** Says what is left of a call's time, which begins now. */
export function timeLeft(options: CallOptions): TimeLeft {
  const ends = performance.now() + (options.timeout ?? DEFAULT_CALL);
  return () => ({ ...options, timeout: Math.max(ends - performance.now(), 0) });
}

/** A promise with what settles it. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => undefined); // whoever awaits it hears it; nobody must
  }
}

/** The error with which a signal ends what waits. */
export function reasonOf(signal: AbortSignal): Error {
  const reason: unknown = signal.reason;
  if (reason instanceof Error && reason.name === "TimeoutError") {
    return new TrunklineError("REQUEST_TIMEOUT", "no answer came before the deadline", {}, { cause: reason });
  }
  return reason instanceof Error ? reason : new Error(String(reason));
}

/**
 * Waits for a promise until a signal or a timeout ends that.
 *
 * @param late - Makes the error where the time is over.
 * @param left - Called where it is not waited for any more.
 */
export async function until<T>(
  promise: Promise<T>, options: CallOptions, late?: () => Error, left?: () => void,
): Promise<T> {
  const { signal, timeout = DEFAULT_CALL } = options;
  if (signal?.aborted) {
    left?.();
    throw reasonOf(signal);
  }
  const ended = new Deferred<never>();
  const onAbort = (): void => ended.reject(reasonOf(signal!));
  signal?.addEventListener("abort", onAbort, { once: true });
  const timer = Number.isFinite(timeout)
    ? setTimeout(() => ended.reject(late?.() ?? new TrunklineError("REQUEST_TIMEOUT", "no answer came before the deadline")), timeout)
    : undefined;
  let isDone = false;
  try {
    const value = await Promise.race([promise.finally(() => { isDone = true; }), ended.promise]);
    return value;
  } catch (error) {
    if (!isDone) {
      left?.();
    }
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", onAbort);
  }
}

/** Waits so many milliseconds, or until the signal is aborted. */
export async function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) {
    return;
  }
  await new Promise<void>((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener("abort", end, { once: true });
  });
}
