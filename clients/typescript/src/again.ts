import { isTrunklineError } from "./errors.js";
import type { Stream } from "./stream.js";
import { reasonOf, sleep, type TimeLeft } from "./waiting.js";

const LONGEST = 2 ** 31 - 1; // milliseconds of a timer

/** Returns for how many milliseconds a service refused something; undefined: it did not, or did not say. */
export function waitOf(error: unknown): number | undefined {
  const seconds = isTrunklineError(error, "OVERLOADED") ? Number(error.details["retry_after"] ?? NaN) : NaN;
  return Number.isNaN(seconds) ? undefined : Math.min(Math.ceil(1000 * seconds), LONGEST);
}

/** Waits so many milliseconds, or throws why that has ended. */
export type Pause = (milliseconds: number, signal?: AbortSignal) => Promise<void>;

/**
 * Makes a call, and again when the service says, where it refuses it for now and the caller's time is not over by then.
 *
 * @param pause - Waits until then. None: the call begins by waiting for its turn.
 */
export async function again<T>(left: TimeLeft, call: () => Promise<T>, pause?: Pause): Promise<T> {
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const wait = waitOf(error);
      const { signal, timeout } = left();
      if (wait === undefined || wait >= timeout) {
        throw error;
      }
      await pause?.(wait, signal);
    }
  }
}

/** Pauses that last as long as a client is open: until the stream of now is closed, whose place another may take meanwhile. */
export function pausesOf(now: () => Stream<any>): Pause {
  return async (milliseconds, signal) => {
    const ends = performance.now() + milliseconds;
    for (let left = milliseconds; left > 0; left = ends - performance.now()) {
      const stream = now();
      await sleep(left, signal ? AbortSignal.any([signal, stream.signal]) : stream.signal);
      if (signal?.aborted) {
        throw reasonOf(signal);
      }
      if (stream.signal.aborted && stream === now()) {
        throw stream.whyClosed;
      }
    }
  };
}
