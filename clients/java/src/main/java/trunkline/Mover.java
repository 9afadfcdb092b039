package trunkline;

import io.grpc.Status;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.Condition;
import java.util.function.BooleanSupplier;

/**
 * Moves a client to another stream when the service asks for it, one move after the other. The new stream goes over a connection of its
 * own, so that another replica may answer. Its methods are called with the lock held, where they do not say otherwise.
 *
 * @param <L> what the client has open on one stream
 */
abstract class Mover<L extends Mover.Movable> {
    private static final System.Logger LOG = System.getLogger("trunkline");
    private static final long LINGER_MILLIS = 100; // how long a stream stays that has nothing under way: somebody may be about to use it

    /** What a client has open on one stream. */
    interface Movable {
        MultiplexedStream<?> stream();

        /** Tells whether nothing is under way any more. */
        boolean isIdle();
    }

    final ClientLock lock;
    private final CompletableFuture<Void> staying = new CompletableFuture<>(); // fails where a move shall end that is under way

    // All below by the lock.
    private final Condition ended;
    private L now;
    private final Set<L> leaving = new LinkedHashSet<>(); // those that another has taken the place of, and that end what is under way
    private boolean isMoving;
    private boolean isMade; // the new line has the old one's place
    private boolean stays; // the client is being closed: it moves no more

    Mover(ClientLock lock, L first) {
        this.lock = lock;
        this.ended = lock.newCondition();
        this.now = first;
    }

    /**
     * Opens a line and lets it take the old one's place, while `isWanted`; throws where that cannot be done now. Called without the lock.
     */
    abstract void arrive(L old, BooleanSupplier isWanted);

    /** Waits for what must go by the old line before anything goes out by the new one. Called without the lock. */
    abstract void settle(L old);

    /** Returns the line of now. */
    L now() {
        return now;
    }

    /** Returns all lines that are open. */
    List<L> all() {
        List<L> all = new ArrayList<>(leaving);
        all.add(now);
        return all;
    }

    /** Says that the service asks a line to go on elsewhere. */
    void asked(L line) {
        line.stream().setAsked(true);
        moveIfAsked();
    }

    private void moveIfAsked() {
        L old = now;
        if (old.stream().isAsked() && !isMoving && !stays) {
            isMoving = true;
            old.stream().setAsked(false);
            long life = old.stream().lives();
            Threads.POOL.execute(() -> move(old, () -> !stays && old.stream().isUp() && old.stream().lives() == life));
        }
    }

    /** Lets a line take the old one's place. What goes out by it waits until the old one is settled. */
    void takePlace(L made, L old) {
        made.stream().hold();
        made.stream().replace(old.stream());
        now = made;
        leaving.add(old);
        isMade = true;
    }

    // All below is called without the lock.

    /** Ends a move, or waits for its end where it is made; the client moves no more. */
    void stay(Duration patience) {
        lock.lock();
        try {
            stays = true;
            for (long left = isMade ? patience.toNanos() : 0; isMoving && left > 0; ) {
                left = ended.awaitNanos(left);
            }
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        } finally {
            lock.unlock();
        }
        staying.completeExceptionally(new TrunklineException(
                Reason.BUS_DISCONNECTED, Status.Code.UNAVAILABLE, "the client is being closed"));
        lock.lock();
        try {
            all().forEach(each -> each.stream().hasChanged());
            while (isMoving) {
                lock.await(ended);
            }
        } finally {
            lock.unlock();
        }
    }

    /** Waits for something; throws where that fails, or the move shall end. */
    <T> T await(CompletableFuture<T> awaited) {
        return await(awaited, new CompletableFuture<>());
    }

    /** The same with what fails when it is too late. */
    <T> T await(CompletableFuture<T> awaited, CompletableFuture<?> late) {
        try {
            CompletableFuture.anyOf(awaited, late, staying).join();
            return awaited.join();
        } catch (CompletionException failed) {
            if (TrunklineException.unwrap(failed) instanceof TrunklineException why) {
                throw why;
            }
            throw failed;
        }
    }

    /** Waits until something is so of a line, or the move shall end. */
    void await(L line, BooleanSupplier isSo) {
        line.stream().awaitChange(() -> isSo.getAsBoolean() || staying.isDone());
    }

    private void move(L old, BooleanSupplier isWanted) {
        boolean isThere = false;
        try {
            isThere = arrives(old, isWanted);
            if (isThere) {
                settle(old);
            }
        } catch (TrunklineException lost) {
            LOG.log(System.Logger.Level.DEBUG, "a move from {0} ended early: {1}", old.stream().address(), lost.getMessage());
        } catch (RuntimeException | Error broken) { // a defect here must not end the connection that there is
            LOG.log(System.Logger.Level.ERROR, "a move broke", broken);
        }
        lock.lock();
        try {
            now.stream().release();
            isMoving = false;
            isMade = false;
            ended.signalAll();
            moveIfAsked();
        } finally {
            lock.unlock();
        }
        if (isThere) {
            windUp(old);
        }
    }

    /**
     * Opens a line in the old one's place, as often as it takes; tells whether there is one. Else the old one was lost meanwhile, and
     * comes back by itself, or the client stays.
     */
    private boolean arrives(L old, BooleanSupplier isWanted) {
        MultiplexedStream<?> stream = old.stream();
        long bound = MultiplexedStream.RECONNECT_MIN_MILLIS;
        do {
            try {
                arrive(old, isWanted);
                return true;
            } catch (TrunklineException away) {
                if (staying.isDone()) {
                    return false;
                }
                LOG.log(
                        System.Logger.Level.INFO, "{0} asks to move, which cannot be done yet: {1}", stream.address(), away.getMessage());
            }
            try {
                staying.get(ThreadLocalRandom.current().nextLong(bound) + 1, TimeUnit.MILLISECONDS);
            } catch (TimeoutException goesOn) {
                bound = Math.min(2 * bound, MultiplexedStream.RECONNECT_MAX_MILLIS);
            } catch (ExecutionException | InterruptedException closed) {
                return false;
            }
        } while (stream.is(isWanted));
        return false;
    }

    /** Closes a line that another has taken the place of, when nothing is under way there any more. */
    private void windUp(L old) {
        MultiplexedStream<?> stream = old.stream();
        BooleanSupplier isOver = () -> old.isIdle() || !stream.isUp();
        do {
            stream.awaitChange(isOver);
        } while (!stream.closesWithin(LINGER_MILLIS) && !stream.is(isOver));
        stream.leave();
        lock.lock();
        try {
            leaving.remove(old);
        } finally {
            lock.unlock();
        }
    }
}
