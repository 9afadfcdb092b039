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
    private int taken; // since credit was granted last

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
        start.setGroup(options.group).setObserver(options.isObserver).setCredit(Math.max(1, credit - waiting()));
    }

    @Override
    List<? extends Entry> arrived(Deliveries came) {
        List<Entry> entries = new ArrayList<>(came.getMessagesCount());
        long sequence = came.getFirstSequence();
        for (Message each : came.getMessagesList()) {
            entries.add(new Entry(each, came.getChannel(), sequence++, 0));
        }
        return entries;
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
    void done(int messages) {
        taken += messages;
        if (taken >= (credit + 1) / 2 && !isClosed() && stream.isUp()) {
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
        if (bus.subscriptions.containsKey(id)) {
            bus.forget(this);
            bus.cancelItem(id, Cancel.getDefaultInstance());
        }
    }
}
