package trunkline;

import java.time.Duration;
import java.util.LinkedHashSet;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Condition;

/**
 * The time at which a service takes what it refused for now, and the calls that wait for it, in order. Its methods are called with the
 * client's lock held.
 */
final class Turn {
    private final ClientLock lock;
    private final Condition come;
    private final Set<Again.Call<?>> calls = new LinkedHashSet<>();
    private long size; // bytes of these
    private TrunklineException refused; // why it has not come; null: it has
    private long comes; // when, by the clock that only rises
    private boolean goesOn; // it comes now: those that wait are made

    Turn(ClientLock lock) {
        this.lock = lock;
        this.come = lock.newCondition();
    }

    /** Tells whether nothing waits for it. */
    boolean hasCome() {
        return refused == null;
    }

    /** Tells whether it comes before a time. */
    boolean comesBefore(long ends) {
        return comes - ends < 0;
    }

    /** Returns why it has not come. */
    TrunklineException refused() {
        return refused;
    }

    /** Lets everything wait until the service takes it, where a refusal says when that is. */
    void slowDown(TrunklineException why) {
        slowDown(why, System.nanoTime() + Long.MAX_VALUE);
    }

    /** The same where that is before a time; tells whether it is. */
    boolean slowDown(TrunklineException why, long ends) {
        Duration wait = why.retryAfter();
        boolean isSet = refused != null && !goesOn;
        long now = System.nanoTime();
        long until = isSet || wait == null ? comes : now + wait.toNanos();
        if (wait == null || until - ends >= 0) {
            return false;
        }
        if (!isSet) {
            refused = why;
            comes = until;
            goesOn = false;
            Threads.CLOCK.schedule(() -> Threads.POOL.execute(this::goOn), until - now, TimeUnit.NANOSECONDS);
        }
        return true;
    }

    /** Lets a call be made when it has come, behind those before. */
    void add(Again.Call<?> call) {
        calls.add(call);
        size += call.size;
    }

    /** Lets a call wait no more. */
    void remove(Again.Call<?> call) {
        calls.remove(call);
        size -= call.size;
        come.signalAll();
    }

    /** Makes the calls that wait. Called without the lock. */
    private void goOn() {
        lock.lock();
        try {
            goesOn = true;
            while (goesOn && !calls.isEmpty()) { // one may wait for the buffer, while others are refused
                calls.iterator().next().make(); // which removes it
            }
            if (goesOn) {
                open();
            }
        } finally {
            lock.unlock();
        }
    }

    /** Lets nothing wait for it any more. */
    void open() {
        refused = null;
        goesOn = false;
        come.signalAll();
    }

    /**
     * Waits until it has come, or fewer bytes wait for it.
     *
     * @param bytes 0: they do not count
     * @throws TrunklineException it does not come in time
     */
    void await(Duration timeout, int bytes) {
        long ends = System.nanoTime() + timeout.toNanos();
        while (refused != null && size >= bytes) {
            long left = ends - System.nanoTime();
            if (left <= 0 || !comesBefore(ends)) {
                throw refused;
            }
            lock.await(come, left, "the service took nothing");
        }
    }
}
