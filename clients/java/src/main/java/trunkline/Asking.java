package trunkline;

import java.util.ArrayDeque;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import trunkline.v1.LifeEvent;
import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.OpenStreamRequest.ClientItem;
import trunkline.v1.OpenStreamRequest.RequestCredit;
import trunkline.v1.RequestRequest;
import trunkline.v1.RequestStreamRequest;

/**
 * A request whose life is followed: the events that came and wait for its handler. Of progress that waits, the newest is kept. Its
 * methods are called with the lock held, where they do not say otherwise.
 */
final class Asking {
    private static final int PART_CREDIT = 256; // parts that may be on their way to who asked, and not read
    private static final int GRANT_AT = PART_CREDIT / 2; // parts that were read, at which as many more are granted

    private final Session session;
    private final long id;
    private final Handler<LifeEvent> handler;
    private final CompletableFuture<LifeEvent> told;
    private final Invocation invocation = new Invocation();

    // All below by the lock.
    private final ArrayDeque<LifeEvent> events = new ArrayDeque<>();
    private LifeEvent last; // that was handed out
    private int read; // parts that were read since more were granted
    private boolean isOver; // no more comes
    private TrunklineException failed; // why it has no end
    private boolean isHandling; // somebody hands out what came

    /**
     * Asks, and begins to follow.
     *
     * @param told done with the end; where it fails before that, the request is cancelled
     */
    Asking(Session session, RequestRequest.Builder wanted, Handler<LifeEvent> handler, CompletableFuture<LifeEvent> told) {
        this.session = session;
        this.id = session.stream.nextId();
        this.handler = handler;
        this.told = told;
        session.asking.put(id, this);
        session.say(ClientItem.newBuilder().setId(id).setRequestStream(RequestStreamRequest.newBuilder().setRequest(wanted)));
        told.whenComplete((end, why) -> {
            if (why != null) {
                leave();
            }
        });
    }

    void take(List<LifeEvent> came, boolean isEnd) {
        for (LifeEvent each : came) {
            if (each.hasProgress() && !events.isEmpty() && events.peekLast().hasProgress()) {
                events.removeLast();
            }
            if (each.getEventCase() != LifeEvent.EventCase.EVENT_NOT_SET) { // else of a newer service
                events.addLast(each);
            }
        }
        if (isEnd) {
            end(null);
        } else {
            handOut();
        }
    }

    /** No more comes; null: behind the end. */
    void end(TrunklineException why) {
        isOver = true;
        failed = why;
        session.asking.remove(id);
        handOut();
    }

    private void handOut() {
        if (!isHandling) {
            isHandling = true;
            Threads.POOL.execute(this::work);
        }
    }

    /** Gives what came to the handler, one after the other. Called without the lock. */
    private void work() {
        for (LifeEvent event = next(); event != null; event = next()) {
            LifeEvent came = event;
            Throwable why = invocation.call(() -> handler.handle(came));
            if (why != null) {
                told.completeExceptionally(why);
                return; // and takes nothing more
            }
        }
    }

    /** Returns the next event; null where none waits. Called without the lock. */
    private LifeEvent next() {
        session.stream.lock.lock();
        try {
            LifeEvent event = events.pollFirst();
            if (event != null) {
                last = event;
                grant();
            } else {
                isHandling = false;
                if (failed != null) {
                    Threads.fail(told, failed);
                } else if (isOver) {
                    Threads.complete(told, last);
                }
            }
            return event;
        } finally {
            session.stream.lock.unlock();
        }
    }

    private void grant() {
        read += last.hasPart() ? 1 : 0;
        if (read >= GRANT_AT && !isOver) {
            session.say(ClientItem.newBuilder().setId(id).setRequestCredit(RequestCredit.newBuilder().setParts(read)));
            read = 0;
        }
    }

    /** Nobody reads on: cancels the request, unless it is over. Called without the lock. */
    private void leave() {
        session.stream.lock.lock();
        try {
            events.clear();
            if (!isOver) {
                isOver = true;
                session.asking.remove(id);
                session.cancelItem(id, Cancel.getDefaultInstance());
                session.stream.hasChanged();
            }
        } finally {
            session.stream.lock.unlock();
        }
        invocation.interrupt();
    }
}
