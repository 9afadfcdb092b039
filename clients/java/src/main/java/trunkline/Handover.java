package trunkline;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import trunkline.v1.SubscribeResponse;

/**
 * Holds back what comes until the stream has ended that is left: for a while both streams have a subscription. Of a group each stream
 * brings what the other does not: both wait, and what has come is put in order, for one publisher's sequences rise. Of others both may
 * bring the same: what is known from the one that is left is left out. By the lock.
 */
final class Handover {
    private final LiveSubscription subscription;
    private final Overlap overlap; // null: each stream brings its own
    private List<SubscribeResponse> frames = new ArrayList<>();
    private boolean isMoved; // the new stream is the one that counts
    private int lastHeld;
    private final CompletableFuture<Void> finished = new CompletableFuture<>();

    Handover(LiveSubscription subscription, Overlap overlap) {
        this.subscription = subscription;
        this.overlap = overlap;
    }

    /** Returns what is done when nothing is held back any more. */
    CompletableFuture<Void> finished() {
        return finished;
    }

    /** Returns how many messages of the old stream wait here. */
    int lastHeld() {
        return lastHeld;
    }

    /** From now on the new stream is the one that counts. */
    void moved() {
        isMoved = true;
    }

    /** Keeps a frame of the stream that counts. */
    void hold(SubscribeResponse frame) {
        if (isMoved) {
            holdNew(frame);
        } else {
            holdLast(frame);
        }
    }

    void holdNew(SubscribeResponse frame) {
        frames.add(frame);
    }

    void holdLast(SubscribeResponse frame) {
        lastHeld += frame.getDeliveries().getMessagesCount();
        frames.add(frame);
    }

    /** Gives out what waits: the old stream has brought its last. */
    void finish() {
        if (overlap != null) {
            overlap.end();
        } else {
            frames.sort(Comparator.comparingLong(each -> each.getDeliveries().getFirstSequence()));
        }
        frames.forEach(subscription::takeHeld);
        done();
    }

    /** Lets the old stream go on: the new one is given up. */
    void forget() {
        if (overlap == null) {
            finish();
        } else {
            overlap.forget();
            done();
        }
    }

    private void done() {
        frames = List.of();
        Threads.complete(finished, null);
    }
}
