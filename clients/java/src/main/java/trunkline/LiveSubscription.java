package trunkline;

import java.util.ArrayList;
import java.util.List;
import trunkline.v1.Message;
import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.SubscribeRequest;
import trunkline.v1.SubscribeResponse;
import trunkline.v1.SubscribeResponse.Deliveries;

/** At most once: credit is granted anew when half of the window is done with. */
sealed class LiveSubscription extends Subscription permits RespondSubscription {
    private static final int WINDOW = 8192; // messages that are sent ahead

    private final Handler<Received> handler;
    int taken; // since credit was granted last
    private Overlap overlap; // what came on a stream that it left, and may come again; null: it has left none
    Handover handover; // while it moves: what holds back what came

    LiveSubscription(Bus bus, String pattern, SubscribeOptions options, Handler<Received> handler) {
        this(bus, pattern, options, WINDOW, handler);
    }

    LiveSubscription(Bus bus, String pattern, SubscribeOptions options, int window, Handler<Received> handler) {
        super(bus, pattern, options, window);
        this.handler = handler;
    }

    @Override
    void fill(SubscribeRequest.Start.Builder start) {
        taken = 0;
        want(start, credit - waiting());
    }

    /** Fills in what is asked of the service, with a credit. */
    void want(SubscribeRequest.Start.Builder start, int messages) {
        start.setGroup(options.group).setObserver(options.isObserver).setCredit(Math.max(1, messages));
    }

    private boolean isShared() {
        return !options.group.isEmpty();
    }

    /** Returns what holds back what comes, while it begins on another stream. */
    Handover expectHandover() {
        if (isShared()) {
            handover = new Handover(this, null);
            return handover;
        }
        if (overlap == null) {
            overlap = new Overlap();
        }
        overlap.begin();
        return new Handover(this, overlap);
    }

    /** Another stream has taken the place of the one before: what waits here had the credit of that one. */
    void moved() {
        taken = -waiting() - (handover == null ? 0 : handover.lastHeld());
    }

    @Override
    void take(SubscribeResponse frame) {
        if (handover == null) {
            takeNow(frame);
        } else {
            handover.hold(frame);
        }
    }

    @Override
    void takeLast(SubscribeResponse frame) {
        taken -= frame.getDeliveries().getMessagesCount();
        if (handover != null && isShared() && !isClosed()) {
            handover.holdLast(frame);
        } else {
            takeHeld(frame);
        }
    }

    /** Takes a frame that was held back. */
    void takeHeld(SubscribeResponse frame) {
        if (!isClosed()) {
            takeNow(frame);
        }
    }

    @Override
    List<? extends Entry> arrived(Deliveries came) {
        List<Entry> entries = new ArrayList<>(came.getMessagesCount());
        long sequence = came.getFirstSequence();
        for (Message each : came.getMessagesList()) {
            entries.add(new Entry(each, came.getChannel(), sequence++, 0));
        }
        if (overlap == null) {
            return entries;
        }
        List<Entry> unknown = overlap.sift(entries);
        done(entries.size() - unknown.size());
        return unknown;
    }

    @Override
    void other(SubscribeResponse frame) {
        if (frame.hasLagged()) {
            long dropped = frame.getLagged().getDropped();
            if (options.onLagged != null) {
                Threads.tell(() -> options.onLagged.accept(dropped));
            } else {
                LOG.log(System.Logger.Level.WARNING, "the subscription to {0} was too slow: {1} messages dropped", pattern, dropped);
            }
        }
    }

    @Override
    boolean begin(Entry came) {
        done(1);
        return !Messages.isExpired(came.message);
    }

    /** Lets the service send as many more as are done with. */
    final void done(int messages) {
        taken += messages;
        if (taken >= (credit + 1) / 2 && !isClosed() && way.isUp()) {
            say(SubscribeRequest.newBuilder().setCredit(SubscribeRequest.Credit.newBuilder().setMessages(taken)));
            taken = 0;
        }
    }

    @Override
    void run(Entry came) {
        Received received = new Received(came.message, came.channel, came.sequence);
        invoke(new Invocation(), () -> handler.handle(received), failed -> {
            if (failed != null) {
                logFailure(came, failed);
            }
        });
    }

    /** Ends it at the service at once. */
    @Override
    void closing() {
        if (way.isOpen()) {
            way.session().forget(this);
            way.cancel(Cancel.getDefaultInstance());
        }
    }
}
