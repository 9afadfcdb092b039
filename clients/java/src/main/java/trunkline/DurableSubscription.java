package trunkline;

import com.google.protobuf.Duration;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ScheduledFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import trunkline.v1.Ack;
import trunkline.v1.Extend;
import trunkline.v1.Message;
import trunkline.v1.Nak;
import trunkline.v1.Release;
import trunkline.v1.SubscribeRequest;
import trunkline.v1.SubscribeResponse;
import trunkline.v1.SubscribeResponse.Deliveries;
import trunkline.v1.Terminate;

/** Holds what the service leased to this client. All leases are extended at a third of their time. */
final class DurableSubscription extends Subscription {
    private static final long DEFAULT_ACK_WAIT = TimeUnit.SECONDS.toNanos(30);
    private static final long ACKED_FOR = TimeUnit.SECONDS.toNanos(5); // acks that were sent so lately are sent again after a reconnect
    private static final int MAX_SETTLED = 10_000; // sequences that one frame names

    private final String name;
    private final Handler<Leased> handler;

    // All below by the lock.
    private final Map<Long, Integer> held = new HashMap<>(); // the attempt by sequence
    private final Map<Long, Leased> given = new HashMap<>(); // of that, what handlers have
    private long ackWait = DEFAULT_ACK_WAIT;
    private long extendedAt = System.nanoTime(); // when all leases began anew for the last time
    private long due; // when the timer is to go off
    private ScheduledFuture<?> timer;
    private boolean isPaused;
    private final Map<Integer, List<Long>> acks = new HashMap<>(); // what is to be acked, by attempt
    private final ArrayDeque<SentAck> sentAcks = new ArrayDeque<>(); // those that were sent lately
    private final Set<Long> repeated = new HashSet<>(); // of these, the ones that were sent again: the service may know them
    private int freed; // settled since credit was granted last

    private record SentAck(long at, int attempt, List<Long> sequences) {}

    DurableSubscription(Bus bus, String pattern, String name, SubscribeOptions options, Handler<Leased> handler) {
        super(bus, pattern, options, 1);
        this.name = name;
        this.handler = handler;
        if (name == null || name.isEmpty() || name.length() > Channels.MAX_CHANNEL) {
            throw TrunklineException.invalid(
                    Reason.INVALID_MESSAGE, "durable", name, "a durable subscription has a name of 1 to 255 characters");
        }
        if (!options.group.isEmpty() || options.isObserver || options.onLagged != null) {
            throw TrunklineException.invalid(
                    Reason.INVALID_MESSAGE, "durable", name, "a durable subscription has no group, no observers, and never lags");
        }
    }

    @Override
    void fill(SubscribeRequest.Start.Builder start) {
        start.setDurable(name).setCredit(Math.max(1, credit - held.size()));
        if (options.position != null) {
            start.setPosition(options.position);
        }
        if (options.settings != null) {
            start.setSettings(options.settings);
        }
        freed = 0;
    }

    /** Says again what may not have arrived: what is held is extended, and late acks are sent again. */
    @Override
    void started() {
        extendAll();
        repeated.clear();
        for (SentAck each : sentAcks) {
            acks.computeIfAbsent(each.attempt(), attempt -> new ArrayList<>()).addAll(each.sequences());
            repeated.addAll(each.sequences());
        }
        sentAcks.clear();
        way.session().touch(this);
    }

    @Override
    void takeLast(SubscribeResponse frame) {
        if (!isClosed()) { // else what it brings stays leased until its time is over
            freed -= frame.getDeliveries().getMessagesCount(); // those had the credit of that stream
            takeNow(frame);
        }
    }

    /** Says something of messages, in as many frames as it takes. */
    private static void byAttempt(Map<Integer, List<Long>> sequences, BiConsumer<Integer, List<Long>> say) {
        sequences.forEach((attempt, all) -> {
            for (int at = 0; at < all.size(); at += MAX_SETTLED) {
                say.accept(attempt, List.copyOf(all.subList(at, Math.min(all.size(), at + MAX_SETTLED))));
            }
        });
    }

    void acked(Leased message) {
        acks.computeIfAbsent(message.attempt(), attempt -> new ArrayList<>()).add(message.sequence());
    }

    @Override
    void gather() {
        long now = System.nanoTime();
        while (!sentAcks.isEmpty() && now - sentAcks.peekFirst().at() > ACKED_FOR) {
            sentAcks.removeFirst();
        }
        byAttempt(acks, (attempt, some) -> {
            say(SubscribeRequest.newBuilder().setAck(Ack.newBuilder().setAttempt(attempt).addAllSequences(some)));
            sentAcks.addLast(new SentAck(now, attempt, some));
        });
        acks.clear();
        if (freed > 0 && !isOver()) {
            say(SubscribeRequest.newBuilder().setCredit(SubscribeRequest.Credit.newBuilder().setMessages(freed)));
            freed = 0;
        }
    }

    @Override
    List<? extends Entry> arrived(Deliveries came) {
        List<Entry> entries = new ArrayList<>(came.getMessagesCount());
        long sequence = came.getFirstSequence();
        for (Message each : came.getMessagesList()) {
            held.put(sequence, came.getAttempt());
            entries.add(new Entry(each, came.getChannel(), sequence++, came.getAttempt()));
        }
        if (isClosed()) { // they were on their way when it was closed
            release();
            return List.of();
        }
        if (timer == null) {
            arm();
        }
        return entries;
    }

    @Override
    void other(SubscribeResponse frame) {
        switch (frame.getFrameCase()) {
            case STARTED -> now(frame.getStarted().hasAckWait(), frame.getStarted().getAckWait(), frame.getStarted().getPaused());
            case CHANGED -> now(frame.getChanged().hasAckWait(), frame.getChanged().getAckWait(), frame.getChanged().getPaused());
            case REFUSED -> refused(frame.getRefused());
            default -> { } // of no concern to who does messages and no tasks
        }
    }

    private void now(boolean saysWait, Duration wait, boolean pauses) {
        long lease = saysWait ? Messages.time(wait).toNanos() : ackWait;
        if (lease != ackWait) {
            ackWait = lease;
            if (timer != null) {
                timer.cancel(false);
                extendAll();
                arm();
            }
        }
        if (pauses != isPaused) {
            isPaused = pauses;
            if (options.onPaused != null) {
                Threads.tell(() -> options.onPaused.accept(pauses));
            } else {
                LOG.log(System.Logger.Level.INFO, "the durable subscription {0} was {1}", name, pauses ? "paused" : "resumed");
            }
        }
    }

    private void refused(SubscribeResponse.Refused said) {
        boolean isRepeated = true;
        boolean hasLost = false;
        for (long sequence : said.getSequencesList()) {
            if (said.getAttempt() != 0 && held.getOrDefault(sequence, 0) == said.getAttempt()) {
                lose(sequence);
                hasLost = true;
            }
            isRepeated = isRepeated && repeated.contains(sequence);
        }
        if (!hasLost && isRepeated) {
            return; // they were acked before the stream was lost, and again when it came back
        }
        TrunklineException why = TrunklineException.fromItem(said.getError());
        if (options.onError != null || hasLost) {
            tell(why);
        } else {
            LOG.log(System.Logger.Level.WARNING, "what was said of messages of {0} came too late: {1}", name, why.toString());
        }
    }

    /** Gives up a message: it is another subscriber's now, or waits for one. */
    private void lose(long sequence) {
        held.remove(sequence);
        Leased lost = given.remove(sequence);
        if (lost != null) {
            lost.isSettled = true;
        }
        freed++;
        disarm();
        way.session().touch(this);
    }

    @Override
    boolean begin(Entry came) {
        if (held.getOrDefault(came.sequence, 0) != came.attempt) {
            return false; // its lease was lost while it waited here
        }
        long begun = extendedAt - came.cameAt > 0 ? extendedAt : came.cameAt;
        if (System.nanoTime() - begun > ackWait) { // another subscriber may be at it by now
            lose(came.sequence);
            return false;
        }
        if (Messages.isExpired(came.message)) {
            held.remove(came.sequence);
            freed++;
            disarm();
            say(SubscribeRequest.newBuilder().setTerminate(Terminate.newBuilder()
                    .addSequences(came.sequence)
                    .setAttempt(came.attempt)
                    .setReason("its TTL was over while it waited for a handler")));
            way.session().touch(this);
            return false;
        }
        given.put(came.sequence, new Leased(this, came.message, came.channel, came.sequence, came.attempt));
        return true;
    }

    @Override
    void run(Entry came) {
        Leased leased;
        lock.lock();
        try {
            leased = given.get(came.sequence);
        } finally {
            lock.unlock();
        }
        if (leased == null) {
            return; // it was lost just now
        }
        invoke(new Invocation(), () -> handler.handle(leased), failed -> {
            try {
                if (failed == null) {
                    leased.ack();
                } else {
                    logFailure(came, failed);
                    leased.nak(failed);
                }
            } catch (TrunklineException stale) {
                LOG.log(System.Logger.Level.WARNING, "a message was handed on before it was settled: {0}", stale.getMessage());
            }
        });
    }

    /** Settles a message, where it is still held. Called without the lock. */
    void settle(Leased message, Runnable say) {
        lock.lock();
        try {
            if (message.isSettled) {
                return;
            }
            message.isSettled = true;
            if (held.getOrDefault(message.sequence(), 0) != message.attempt()) {
                throw stale(message);
            }
            held.remove(message.sequence());
            given.remove(message.sequence());
            freed++;
            say.run();
            disarm();
            way.session().touch(this);
        } finally {
            lock.unlock();
        }
    }

    /** Extends one message's lease, where it is still held. Called without the lock. */
    void extend(Leased message, Extend.Builder extend) {
        lock.lock();
        try {
            if (message.isSettled) {
                throw stale(message);
            }
            say(SubscribeRequest.newBuilder().setExtend(extend));
        } finally {
            lock.unlock();
        }
    }

    private TrunklineException stale(Leased message) {
        String words = "message " + message.sequence() + " of \"" + name + "\", attempt " + message.attempt() + ", is not held any more";
        return new TrunklineException(Reason.STALE_ACK, io.grpc.Status.Code.FAILED_PRECONDITION, words, Map.of(
                "durable", name, "sequence", Long.toString(message.sequence()), "attempt", Integer.toString(message.attempt())));
    }

    /** Gives back what was not begun. */
    @Override
    void closing() {
        release();
    }

    private void release() {
        Map<Integer, List<Long>> unstarted = new HashMap<>();
        held.forEach((sequence, attempt) -> {
            if (!given.containsKey(sequence)) {
                unstarted.computeIfAbsent(attempt, each -> new ArrayList<>()).add(sequence);
            }
        });
        unstarted.values().forEach(all -> all.forEach(held::remove));
        byAttempt(unstarted, (attempt, some) ->
                say(SubscribeRequest.newBuilder().setRelease(Release.newBuilder().setAttempt(attempt).addAllSequences(some))));
        disarm();
    }

    /** Naks what handlers have: it will not be settled. */
    @Override
    void abandoning() {
        given.forEach((sequence, each) -> {
            each.isSettled = true;
            held.remove(sequence);
            say(SubscribeRequest.newBuilder().setNak(Nak.newBuilder()
                    .addSequences(sequence)
                    .setAttempt(each.attempt())
                    .setDelay(Duration.getDefaultInstance())
                    .setError("the client closed before the message was settled")));
        });
        given.clear();
        disarm();
    }

    /** Lets all leases begin anew. */
    private void extendAll() {
        if (held.isEmpty() || !way.isUp()) {
            return;
        }
        extendedAt = System.nanoTime();
        Map<Integer, List<Long>> all = new HashMap<>();
        held.forEach((sequence, attempt) -> all.computeIfAbsent(attempt, each -> new ArrayList<>()).add(sequence));
        byAttempt(all, (attempt, some) ->
                say(SubscribeRequest.newBuilder().setExtend(Extend.newBuilder().setAttempt(attempt).addAllSequences(some))));
    }

    private void arm() {
        due = System.nanoTime() + ackWait / 3;
        timer = Threads.CLOCK.schedule(this::onTime, ackWait / 3, TimeUnit.NANOSECONDS);
    }

    private void onTime() {
        lock.lock();
        try {
            long late = System.nanoTime() - due;
            if (timer == null || late < 0) {
                return; // it was armed anew meanwhile
            }
            timer = null;
            if (late > ackWait / 3) { // this process stood still: what was not begun may be with another by now
                for (long sequence : List.copyOf(held.keySet())) {
                    if (!given.containsKey(sequence)) {
                        lose(sequence);
                    }
                }
            }
            if (way.isOpen() && !held.isEmpty()) {
                extendAll();
                arm();
            }
        } finally {
            lock.unlock();
        }
    }

    /** Stops extending where nothing is held. */
    private void disarm() {
        if (held.isEmpty() && timer != null) {
            timer.cancel(false);
            timer = null;
        }
    }
}
