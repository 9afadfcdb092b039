package trunkline;

import java.util.ArrayDeque;
import java.util.concurrent.CancellationException;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The lock of a client, one for all of its streams: what is said of messages must keep its order with frames, and what moves from one
 * stream to another does so at one moment. What was scheduled under it is written when it is given back, by whoever held it.
 */
final class ClientLock {
    private final ReentrantLock lock = new ReentrantLock();
    private final ArrayDeque<MultiplexedStream<?>> scheduled = new ArrayDeque<>();

    void lock() {
        lock.lock();
    }

    /** Writes what was scheduled, and gives the lock back. */
    void unlock() {
        try {
            if (lock.getHoldCount() == 1) {
                write();
            }
        } finally {
            lock.unlock();
        }
    }

    Condition newCondition() {
        return lock.newCondition();
    }

    // All below is called with the lock held.

    /** Lets a stream write before the lock is given back. */
    void schedule(MultiplexedStream<?> stream) {
        scheduled.addLast(stream);
    }

    /** Lets those that were scheduled write. */
    void write() {
        for (MultiplexedStream<?> stream; (stream = scheduled.pollFirst()) != null; ) {
            stream.write();
        }
    }

    /** Waits for something, while others have the lock. */
    void await(Condition condition) {
        write();
        condition.awaitUninterruptibly();
    }

    /**
     * The same with a limit in nanoseconds; returns what is left of it.
     *
     * @throws CancellationException the thread was interrupted while `meanwhile`
     */
    long await(Condition condition, long left, String meanwhile) {
        write();
        try {
            return condition.awaitNanos(left);
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
            throw new CancellationException("interrupted while " + meanwhile);
        }
    }
}
