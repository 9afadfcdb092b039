package trunkline;

import com.google.protobuf.CodedOutputStream;
import com.google.protobuf.WireFormat;
import io.grpc.Metadata;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Stream;
import trunkline.v1.BusServiceGrpc;
import trunkline.v1.Durability;
import trunkline.v1.OpenStreamRequest;
import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.OpenStreamRequest.ClientItem;
import trunkline.v1.OpenStreamResponse;
import trunkline.v1.OpenStreamResponse.ServerItem;
import trunkline.v1.PublishRequest;
import trunkline.v1.Receipt;
import trunkline.v1.RequestStreamResponse;
import trunkline.v1.SubscribeRequest;

/** What a bus has open on one stream. Its methods are called with the lock held. */
final class Session implements Mover.Movable, MultiplexedStream.User<OpenStreamResponse> {
    private static final Metadata.Key<String> GREETING = Metadata.Key.of("trunkline-bus", Metadata.ASCII_STRING_MARSHALLER);
    private static final System.Logger LOG = System.getLogger("trunkline");

    final MultiplexedStream<OpenStreamResponse> stream;
    private final Bus bus;

    final Map<Long, Subscription> subscriptions = new HashMap<>();
    final Map<Long, Visitor> visitors = new HashMap<>();
    final Map<Long, Asking> asking = new HashMap<>();
    private final Set<Subscription> touched = new LinkedHashSet<>(); // those that have something to say with the next frame
    private Group open;
    private final Map<Long, Sent> receipts = new HashMap<>();
    private boolean isUnconfirmed; // something live was published that the service may not have taken
    boolean isAway; // a sidecar took the stream while the bus is away

    /** What is published and waits for the next frame: on one channel, all of it to be stored or none. */
    private static final class Group {
        final String channel;
        final boolean isStored;
        final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        final CodedOutputStream encoded = CodedOutputStream.newInstance(bytes, 4096); // as PublishRequest has its messages
        final List<Waiter> waiters = new ArrayList<>();
        int count;

        Group(String channel, boolean isStored) {
            this.channel = channel;
            this.isStored = isStored;
        }
    }

    /** Awaits the receipts of one call's messages, which is made again where they were refused for now. */
    record Waiter(List<byte[]> messages, CompletableFuture<List<Receipt>> awaited, Predicate<TrunklineException> again) {
        void refuse(TrunklineException why) {
            if (!again.test(why)) {
                Threads.fail(awaited, why);
            }
        }
    }

    /** A frame's worth of stored messages whose receipts are awaited. */
    private record Sent(String channel, List<Waiter> waiters) {}

    Session(Bus bus, Connection connection) {
        this.bus = bus;
        stream = new MultiplexedStream<>(connection, Reason.BUS_DISCONNECTED, BusServiceGrpc.getOpenStreamMethod(), this, bus.lock);
    }

    @Override
    public MultiplexedStream<?> stream() {
        return stream;
    }

    @Override
    public boolean isIdle() {
        return Stream.of(visitors, subscriptions, asking, receipts).allMatch(Map::isEmpty)
                && open == null && !stream.isPending() && !stream.hasCalls();
    }

    /** Adds a live message. */
    void addLive(String channel, byte[] encoded) {
        isUnconfirmed = true;
        gatherOne(channel, false, encoded);
        stream.schedule();
        sealFull();
    }

    /**
     * Lets something be done when all before it was taken, and with `isSent` has arrived at all replicas.
     *
     * @param taken called then, with the lock held; what it throws fails the future
     */
    void ping(boolean isSent, CompletableFuture<Void> answered, Runnable taken) {
        stream.check();
        long id = stream.nextId();
        stream.expect(
                id, answered,
                pong -> {
                    isUnconfirmed = open != null && !open.isStored;
                    taken.run();
                    return null;
                },
                () -> {},
                said -> false);
        say(ClientItem.newBuilder().setId(id).setPing(OpenStreamRequest.Ping.newBuilder().setSent(isSent)));
    }

    /** Adds a message to the group into which it goes; another is sealed first. */
    private void gatherOne(String channel, boolean isStored, byte[] encoded) {
        if (open != null && (!open.channel.equals(channel) || open.isStored != isStored)) {
            seal();
        }
        if (open == null) {
            open = new Group(channel, isStored);
        }
        try {
            open.encoded.writeByteArray(PublishRequest.MESSAGES_FIELD_NUMBER, encoded);
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible); // it is memory
        }
        open.count++;
    }

    /** Adds the messages of one call, whose receipts come with one answer. */
    void addStored(String channel, Waiter call) {
        if (open != null && open.count + call.messages().size() > MultiplexedStream.FRAME_MESSAGES) {
            seal();
        }
        for (byte[] each : call.messages()) {
            gatherOne(channel, true, each);
        }
        open.waiters.add(call);
        sealFull();
        stream.schedule();
    }

    private void sealFull() {
        if (open.count >= MultiplexedStream.FRAME_MESSAGES || open.encoded.getTotalBytesWritten() >= MultiplexedStream.FRAME_BYTES) {
            seal();
        }
    }

    /** Lets the open group go out with the next frame. */
    private void seal() {
        Group group = open;
        if (group == null) {
            return;
        }
        open = null;
        long id = 0;
        PublishRequest.Builder head = PublishRequest.newBuilder().setChannel(group.channel);
        if (group.isStored) {
            head.setDurability(Durability.DURABILITY_STORED);
            id = stream.nextId();
            receipts.put(id, new Sent(group.channel, group.waiters));
        }
        try {
            group.encoded.writeRawBytes(head.build().toByteArray()); // fields of one message, in any order
            group.encoded.flush();
            stream.put(publishItem(id, group.bytes.toByteArray()), !group.isStored);
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible); // it is memory
        }
    }

    /** Returns a frame of one item that publishes. */
    private static byte[] publishItem(long id, byte[] publish) throws IOException {
        int size = CodedOutputStream.computeByteArraySize(ClientItem.PUBLISH_FIELD_NUMBER, publish);
        size += id == 0 ? 0 : CodedOutputStream.computeUInt64Size(ClientItem.ID_FIELD_NUMBER, id);
        int head = CodedOutputStream.computeTagSize(OpenStreamRequest.ITEMS_FIELD_NUMBER) + CodedOutputStream.computeUInt32SizeNoTag(size);
        byte[] frame = new byte[head + size];
        CodedOutputStream written = CodedOutputStream.newInstance(frame);
        written.writeTag(OpenStreamRequest.ITEMS_FIELD_NUMBER, WireFormat.WIRETYPE_LENGTH_DELIMITED);
        written.writeUInt32NoTag(size);
        if (id != 0) {
            written.writeUInt64(ClientItem.ID_FIELD_NUMBER, id);
        }
        written.writeByteArray(ClientItem.PUBLISH_FIELD_NUMBER, publish);
        written.checkNoSpaceLeft();
        return frame;
    }

    /** Lets an item go out with the next frame, behind all that was published. */
    void say(ClientItem.Builder item) {
        seal();
        stream.put(OpenStreamRequest.newBuilder().addItems(item).build().toByteArray(), false);
    }

    void sayOf(long id, SubscribeRequest.Builder frame) {
        say(ClientItem.newBuilder().setId(id).setSubscribe(frame));
    }

    void cancelItem(long id, Cancel how) {
        say(ClientItem.newBuilder().setId(id).setCancel(how));
    }

    /** Lets a subscription say something with the next frame. */
    void touch(Subscription subscription) {
        touched.add(subscription);
        stream.schedule();
    }

    void forget(Subscription subscription) {
        subscriptions.remove(subscription.way.id());
        touched.remove(subscription);
    }

    // What the stream calls.

    @Override
    public void gather() {
        gatherTouched();
        seal();
    }

    void gatherTouched() {
        List<Subscription> all = List.copyOf(touched);
        touched.clear();
        all.forEach(Subscription::gather);
    }

    @Override
    public void wentUp(Metadata greeting) {
        isAway = "away".equals(greeting.get(GREETING));
        Group waiting = open;
        open = null; // nothing of it goes before the subscriptions
        stream.putFirst(() -> subscriptions.values().forEach(Subscription::start));
        open = waiting;
    }

    @Override
    public void wentDown(TrunklineException why) {
        receipts.values().forEach(each -> fail(each.waiters(), why));
        receipts.clear();
        if (open != null && open.isStored) {
            fail(open.waiters, why);
            open = null;
        }
        if (isUnconfirmed && bus.noteRefused(why)) {
            LOG.log(System.Logger.Level.WARNING, "what was published to {0} and not flushed may be lost", stream.address());
        }
        touched.clear();
        List.copyOf(visitors.keySet()).forEach(each -> endVisit(each, why));
        List.copyOf(asking.values()).forEach(each -> each.end(why));
        for (Subscription each : List.copyOf(subscriptions.values())) {
            each.streamLost();
            if (stream.closed() != null) {
                subscriptions.remove(each.way.id());
                each.end(why);
            }
        }
    }

    @Override
    public void take(OpenStreamResponse frame) {
        for (ServerItem item : frame.getItemsList()) {
            long id = item.getId();
            switch (item.getItemCase()) {
                case SUBSCRIPTION -> {
                    Subscription subscription = subscriptions.get(id);
                    Visitor visits = visitors.get(id);
                    if (subscription != null) {
                        subscription.take(item.getSubscription());
                    } else if (visits != null) {
                        visits.take(item.getSubscription());
                    }
                }
                case CANCELLED -> endVisit(id, null);
                case PUBLISHED -> takeReceipts(id, item.getPublished().getReceiptsList());
                case REQUEST_EVENTS -> takeEvents(id, item.getRequestEvents(), false);
                case REQUEST_END -> takeEvents(id, item.getRequestEnd(), true);
                case REPLY -> stream.settle(id, item.getReply());
                case ERROR -> takeError(id, TrunklineException.fromItem(item.getError()));
                case PONG -> stream.settle(id, item.getPong());
                case BUS_CONNECTED -> isAway = false;
                case MOVE -> bus.mover.asked(this);
                default -> { } // what newer services say to clients that asked for it
            }
        }
    }

    private void takeEvents(long id, RequestStreamResponse came, boolean isEnd) {
        Asking asked = asking.get(id);
        if (asked != null) {
            asked.take(came.getEventsList(), isEnd);
        }
    }

    private void endVisit(long id, TrunklineException why) {
        Visitor visits = visitors.remove(id);
        if (visits != null) {
            visits.end(why);
        }
    }

    private static void fail(List<Waiter> waiters, TrunklineException why) {
        waiters.forEach(each -> Threads.fail(each.awaited(), why));
    }

    private void takeReceipts(long id, List<Receipt> came) {
        Sent sent = receipts.remove(id);
        if (sent == null) {
            return;
        }
        int at = 0;
        for (Waiter each : sent.waiters()) {
            int count = each.messages().size();
            if (at + count > came.size()) {
                Threads.fail(each.awaited(), new TrunklineException(
                        Reason.INTERNAL, io.grpc.Status.Code.INTERNAL, "the service sent too few receipts"));
                continue;
            }
            Threads.complete(each.awaited(), List.copyOf(came.subList(at, at + count)));
            at += count;
        }
    }

    private void takeError(long id, TrunklineException said) {
        Subscription subscription = subscriptions.get(id);
        Sent sent = receipts.remove(id);
        Duration wait = said.retryAfter();
        if (subscription != null && subscription.isKnown() && wait != null) {
            startAgain(subscription, wait); // the service may not know yet that the stream is lost on which it was open
        } else if (subscription != null) {
            forget(subscription);
            subscription.end(said);
        } else if (visitors.containsKey(id)) {
            endVisit(id, said);
        } else if (asking.containsKey(id)) {
            asking.get(id).end(said);
        } else if (sent != null) {
            refuse(sent, said);
        } else if (!stream.fail(id, said) && id == 0) { // something live was refused
            LOG.log(System.Logger.Level.ERROR, "the service refused a message: {0}", said.toString());
            bus.noteRefused(said);
            bus.publishing.slowDown(said);
        }
    }

    /** Asks for a subscription that was refused for now, unless it was asked for since. */
    private void startAgain(Subscription subscription, Duration wait) {
        long life = stream.lives();
        Runnable start = () -> {
            stream.lock.lock();
            try {
                if (stream.isUp() && stream.lives() == life && subscriptions.get(subscription.way.id()) == subscription) {
                    subscription.start();
                }
            } finally {
                stream.lock.unlock();
            }
        };
        Threads.CLOCK.schedule(start, wait.toNanos(), TimeUnit.NANOSECONDS);
    }

    /**
     * Fails the call one of whose messages the service refused. Nothing of the frame was published: what other calls had in it is sent
     * again.
     */
    private void refuse(Sent sent, TrunklineException said) {
        String place = said.details().getOrDefault("index", "");
        if (!place.matches("\\d{1,9}") || sent.waiters().size() == 1) {
            sent.waiters().forEach(each -> each.refuse(said));
            return;
        }
        int index = Integer.parseInt(place);
        for (Waiter each : sent.waiters()) {
            if (index >= 0 && index < each.messages().size()) {
                each.refuse(said.with("index", Integer.toString(index)));
            } else {
                addStored(sent.channel(), each);
            }
            index -= each.messages().size();
        }
    }
}
