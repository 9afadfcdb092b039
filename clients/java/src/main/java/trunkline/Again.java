package trunkline;

import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;

/**
 * Makes the calls of a client, and makes one again that the service refuses for now: when the service says, if the caller's time is not
 * over by then. By the client's lock.
 */
final class Again {
    private final ClientLock lock;
    private final Map<Call<?>, Turn> waiting = new HashMap<>();
    private boolean isClosed;

    Again(ClientLock lock) {
        this.lock = lock;
    }

    /** Returns how many calls wait to be made; with the lock held. */
    int waiting() {
        return waiting.size();
    }

    /** Fails the calls that wait; no more do. With the lock held. */
    void close(TrunklineException why) {
        isClosed = true;
        waiting.keySet().forEach(each -> Threads.fail(each.told, why));
    }

    /**
     * A call.
     *
     * @param <T> what its caller gets
     */
    final class Call<T> {
        final CompletableFuture<T> told; // where it is done, the call is not made any more
        final int size; // bytes, where it counts how much waits
        private final long ends; // the caller's time, by the clock that only rises
        private final Turn turn; // of those that wait for each other; null: it waits by itself
        private final Consumer<Call<T>> ask;

        /**
         * @param told what the caller waits for
         * @param timeout what the caller gives, from now on
         * @param ask called with the lock held, as often as it takes; what it throws fails the call
         */
        Call(CompletableFuture<T> told, Duration timeout, Consumer<Call<T>> ask) {
            this(told, timeout, null, 0, ask);
        }

        /** The same of a call that waits behind others. */
        Call(CompletableFuture<T> told, Duration timeout, Turn turn, int size, Consumer<Call<T>> ask) {
            this.told = told;
            this.ends = System.nanoTime() + timeout.toNanos();
            this.turn = turn;
            this.size = size;
            this.ask = ask;
        }

        /** Makes it, behind those that wait. Called with the lock held or without. */
        void begin() {
            lock.lock();
            try {
                if (turn == null || turn.hasCome()) {
                    make();
                } else if (turn.comesBefore(ends)) {
                    await(turn);
                } else {
                    Threads.fail(told, turn.refused());
                }
            } finally {
                lock.unlock();
            }
        }

        /** Makes it when a stream is up, or another has taken its place. Called with the lock held or without. */
        void beginWhenUp(MultiplexedStream<?> stream) {
            stream.whenUp().whenComplete((up, gone) -> {
                if (gone == null) {
                    begin();
                } else {
                    Threads.fail(told, TrunklineException.unwrap(gone));
                }
            });
        }

        // All below is called with the lock held.

        /** Takes why the service refused it; tells whether it is made again. */
        boolean again(TrunklineException why) {
            Turn next = turn == null ? new Turn(lock) : turn;
            if (isClosed || !next.slowDown(why, ends)) {
                return false;
            }
            await(next);
            return true;
        }

        private void await(Turn turn) {
            waiting.put(this, turn);
            turn.add(this);
            told.whenComplete((value, why) -> leave());
        }

        /** Waits no more. Called without the lock, too. */
        private void leave() {
            lock.lock();
            try {
                Turn awaited = waiting.remove(this);
                if (awaited != null) {
                    awaited.remove(this);
                }
            } finally {
                lock.unlock();
            }
        }

        /** Makes it now. */
        void make() {
            leave();
            if (told.isDone()) {
                return;
            }
            try {
                ask.accept(this);
            } catch (RuntimeException notMade) {
                Threads.fail(told, notMade);
            }
        }
    }
}
