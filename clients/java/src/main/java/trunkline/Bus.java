package trunkline;

import com.google.protobuf.CodedOutputStream;
import com.google.protobuf.WireFormat;
import io.grpc.Channel;
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
import java.util.function.Supplier;
import trunkline.v1.BusServiceGrpc;
import trunkline.v1.Durability;
import trunkline.v1.Message;
import trunkline.v1.OpenStreamRequest;
import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.OpenStreamRequest.ClientItem;
import trunkline.v1.OpenStreamResponse;
import trunkline.v1.OpenStreamResponse.ServerItem;
import trunkline.v1.PublishRequest;
import trunkline.v1.Receipt;
import trunkline.v1.RequestRequest;
import trunkline.v1.RequestResponse;
import trunkline.v1.SubscribeRequest;

/**
 * Carries messages between agents. Its methods may be called by many threads. Futures fail with {@link TrunklineException}; one that
 * is cancelled gives up its call.
 */
public final class Bus implements AutoCloseable {
    private static final Metadata.Key<String> GREETING = Metadata.Key.of("trunkline-bus", Metadata.ASCII_STRING_MARSHALLER);
    private static final System.Logger LOG = System.getLogger("trunkline");

    final MultiplexedStream<OpenStreamResponse> stream;

    // All below by the stream's lock.
    final Map<Long, Subscription> subscriptions = new HashMap<>();
    private final Set<Subscription> touched = new LinkedHashSet<>(); // those that have something to say with the next frame
    private Group open;
    private final Map<Long, Sent> receipts = new HashMap<>();
    private TrunklineException refused; // the first one of something live since the last flush
    private boolean isUnconfirmed; // something live was published that the service may not have taken
    private boolean isAway; // a sidecar took the stream while the bus is away

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

    /** Awaits the receipts of one call's messages. */
    private record Waiter(List<byte[]> messages, CompletableFuture<List<Receipt>> awaited) {}

    /** A frame's worth of stored messages whose receipts are awaited. */
    private record Sent(String channel, List<Waiter> waiters) {}

    private Bus(Address at, ConnectOptions options) {
        stream = new MultiplexedStream<>(
                new Connection(at, options), Reason.BUS_DISCONNECTED, BusServiceGrpc.getOpenStreamMethod(), new Events());
    }

    /** Connects to a bus or a sidecar: host:port, tls://host:port or unix:/path. The connection lasts until it is closed. */
    public static CompletableFuture<Bus> connect(String at) {
        return connect(at, new ConnectOptions());
    }

    /** The same with options. */
    public static CompletableFuture<Bus> connect(String at, ConnectOptions options) {
        try {
            Bus bus = new Bus(new Address(at), options);
            return bus.stream.open().thenApply(up -> bus);
        } catch (TrunklineException refused) {
            return CompletableFuture.failedFuture(refused);
        }
    }

    /**
     * Returns the connection, for the calls that have no method here: {@code BusServiceGrpc.newBlockingStub(bus.channel())}. What stubs
     * throw is read by {@link TrunklineException#of}.
     */
    public Channel channel() {
        return stream.connection.channel;
    }

    /** Drains all subscriptions, flushes what was published, and ends the connection; waits for handlers as long as they take. */
    @Override
    public void close() {
        close(Duration.ofDays(365));
    }

    /**
     * The same with a limit: then the threads of handlers that still run are interrupted, what they hold is given back, and the
     * connection ends.
     */
    public void close(Duration patience) {
        List<Subscription> all;
        stream.lock();
        try {
            all = List.copyOf(subscriptions.values());
            all.forEach(Subscription::stop);
        } finally {
            stream.unlock();
        }
        CompletableFuture<?>[] drained = all.stream().map(Subscription::drain).toArray(CompletableFuture<?>[]::new);
        settled(CompletableFuture.allOf(drained), patience);
        all.forEach(Subscription::close);
        settled(flush(), Duration.ofSeconds(2));
        stream.close();
    }

    /** Waits until something has succeeded or failed, with a limit. */
    private static void settled(CompletableFuture<?> future, Duration patience) {
        future.handle((value, why) -> {
                    if (why != null) {
                        LOG.log(System.Logger.Level.WARNING, "a bus is closed: {0}", TrunklineException.unwrap(why).toString());
                    }
                    return null;
                })
                .completeOnTimeout(null, patience.toMillis(), TimeUnit.MILLISECONDS)
                .join();
    }

    /** Tells whether the connection is up, and the bus behind it. */
    public boolean isConnected() {
        stream.lock();
        try {
            return stream.isUp() && !isAway;
        } finally {
            stream.unlock();
        }
    }

    /**
     * Publishes live messages on a channel: at most once, to who subscribes now. It returns once the bounded buffer took them; {@link
     * #flush} is done once the service did. While the connection is lost they wait in the buffer.
     *
     * @throws TrunklineException INVALID_CHANNEL, INVALID_MESSAGE, MESSAGE_TOO_LARGE; BUS_DISCONNECTED where the connection is lost and
     *     the buffer is full
     */
    public void publish(String channel, Message... messages) {
        Channels.checkChannel(channel);
        for (Message each : messages) {
            Messages.checkLive(each);
            byte[] encoded = encode(each);
            stream.lock();
            try {
                stream.pace();
                if (stream.closed() != null) {
                    throw stream.closed();
                }
                isUnconfirmed = true;
                gatherOne(channel, false, encoded);
                stream.schedule();
                sealFull();
            } finally {
                stream.unlock();
            }
        }
    }

    private byte[] encode(Message message) {
        return Messages.encode(message, stream.connection.options.maxMessageBytes);
    }

    /**
     * Publishes messages to be stored; done with their receipts after the sync to disk. What many publish at once goes together. Each
     * message has an id, made here where it has none; where the connection is lost before the receipts came, the same messages are sent
     * again until the call's time is over: a message is stored once if its bus is back within its dedup window, 2 minutes by default.
     * Where the buffer is full, this waits.
     */
    public CompletableFuture<List<Receipt>> publishStored(String channel, Message... messages) {
        List<byte[]> all = new ArrayList<>(messages.length);
        try {
            Channels.checkChannel(channel);
            if (messages.length == 0) {
                throw TrunklineException.invalid(Reason.INVALID_MESSAGE, "messages", 0, "there is no message to publish");
            }
            for (Message each : messages) {
                all.add(encode(Messages.named(each)));
            }
        } catch (TrunklineException refused) {
            boolean isMessage = !refused.is(Reason.INVALID_CHANNEL) && messages.length > 0;
            return CompletableFuture.failedFuture(isMessage ? refused.with("index", Integer.toString(all.size())) : refused);
        }
        CompletableFuture<List<Receipt>> told = MultiplexedStream.timed(stream.connection.options.callTimeout, TrunklineException::late);
        storeRest(channel, all, new ArrayList<>(all.size()), told);
        return told;
    }

    private void storeRest(String channel, List<byte[]> all, List<Receipt> came, CompletableFuture<List<Receipt>> told) {
        if (came.size() == all.size()) {
            told.complete(List.copyOf(came));
        }
        if (told.isDone()) {
            return;
        }
        List<byte[]> some = all.subList(came.size(), Math.min(all.size(), came.size() + MultiplexedStream.FRAME_MESSAGES));
        CompletableFuture<List<Receipt>> awaited = new CompletableFuture<>();
        awaited.whenComplete((receipts, failed) -> {
            if (failed == null) {
                came.addAll(receipts);
                storeRest(channel, all, came, told);
                return;
            }
            TrunklineException why = TrunklineException.of(failed);
            if (why != null && why.is(Reason.BUS_DISCONNECTED)) {
                stream.whenUp().whenComplete((up, gone) -> {
                    if (gone == null) {
                        storeRest(channel, all, came, told);
                    } else {
                        told.completeExceptionally(why);
                    }
                });
            } else {
                told.completeExceptionally(why == null ? failed : why);
            }
        });
        stream.lock();
        try {
            stream.check();
            stream.pace();
            stream.check();
            addStored(channel, new Waiter(some, awaited));
        } catch (RuntimeException notSent) {
            Threads.fail(awaited, notSent);
        } finally {
            stream.unlock();
        }
    }

    /**
     * Done when the service took all that was published live. Fails with the first refusal since the last flush, or where the
     * connection was lost meanwhile, with which some of it may be lost too.
     */
    public CompletableFuture<Void> flush() {
        stream.lock();
        try {
            stream.check();
            long id = stream.nextId();
            CompletableFuture<Void> pong = stream.expect(
                    id, MultiplexedStream.timed(stream.connection.options.callTimeout, TrunklineException::late), answer -> flushed(),
                    () -> {});
            say(ClientItem.newBuilder().setId(id).setPing(OpenStreamRequest.Ping.getDefaultInstance()));
            return pong;
        } catch (TrunklineException away) {
            return CompletableFuture.failedFuture(away);
        } finally {
            stream.unlock();
        }
    }

    private Void flushed() {
        isUnconfirmed = open != null && !open.isStored;
        TrunklineException first = refused;
        refused = null;
        if (first != null) {
            throw first;
        }
        return null;
    }

    /** Publishes a message and waits 30 seconds for its reply; see {@link #request(String, Message, RequestOptions)}. */
    public CompletableFuture<Received> request(String channel, Message message) {
        return request(channel, message, new RequestOptions());
    }

    /**
     * Publishes a message; done with its reply, by {@link #respond} or any message published with its correlation id. Who cancels the
     * future cancels the request.
     */
    public CompletableFuture<Received> request(String channel, Message message, RequestOptions options) {
        RequestRequest.Builder wanted;
        try {
            Channels.checkChannel(channel);
            wanted = options.wanted(channel);
            Message named = Messages.named(message);
            if (named != null && named.getCorrelationId().isEmpty()) {
                named = named.toBuilder().setCorrelationId(named.getMessageId()).build();
            }
            encode(named); // says what is wrong with it
            wanted.setMessage(named);
        } catch (TrunklineException refused) {
            return CompletableFuture.failedFuture(refused);
        }
        long ends = System.nanoTime() + options.timeout.toNanos();
        Supplier<TrunklineException> late = () -> TrunklineException.late(channel, options.timeout);
        if (!options.waitsForResponder) {
            return ask(wanted, options.timeout, late);
        }
        CompletableFuture<Received> told = MultiplexedStream.timed(options.timeout, late);
        stream.whenUp().whenComplete((up, gone) -> {
            if (gone != null) {
                told.completeExceptionally(TrunklineException.unwrap(gone));
            } else if (!told.isDone()) {
                CompletableFuture<Received> asked = ask(wanted, Duration.ofNanos(Math.max(ends - System.nanoTime(), 1_000_000)), late);
                asked.whenComplete((reply, why) -> {
                    if (why == null) {
                        told.complete(reply);
                    } else {
                        told.completeExceptionally(TrunklineException.unwrap(why));
                    }
                });
                told.whenComplete((reply, why) -> {
                    if (why != null) {
                        asked.cancel(false);
                    }
                });
            }
        });
        return told;
    }

    private CompletableFuture<Received> ask(RequestRequest.Builder wanted, Duration timeout, Supplier<TrunklineException> late) {
        stream.lock();
        try {
            stream.check();
            long id = stream.nextId();
            CompletableFuture<Received> reply = stream.expect(
                    id, MultiplexedStream.timed(timeout, late),
                    answer -> {
                        RequestResponse came = (RequestResponse) answer;
                        return new Received(came.getMessage(), came.getChannel(), 0);
                    },
                    () -> cancelItem(id, Cancel.getDefaultInstance()));
            say(ClientItem.newBuilder().setId(id).setRequest(wanted.setTimeout(Messages.duration(timeout))));
            return reply;
        } catch (TrunklineException away) {
            return CompletableFuture.failedFuture(away);
        } finally {
            stream.unlock();
        }
    }

    /** Gives each message of a channel or pattern to a handler; see {@link #subscribe(String, SubscribeOptions, Handler)}. */
    public CompletableFuture<Subscription> subscribe(String pattern, Handler<Received> handler) {
        return subscribe(pattern, new SubscribeOptions(), handler);
    }

    /**
     * Gives each message of a channel or pattern to a handler, at most once. Done when the service has registered it: nothing published
     * after it is missed. What a handler throws is logged, and fails its message alone. Handlers run in threads of the subscription,
     * which keep the program alive until it ends.
     */
    public CompletableFuture<Subscription> subscribe(String pattern, SubscribeOptions options, Handler<Received> handler) {
        return begin(() -> new LiveSubscription(this, pattern, options, handler));
    }

    /** Gives each stored message to a handler; see {@link #subscribeDurable(String, String, SubscribeOptions, Handler)}. */
    public CompletableFuture<Subscription> subscribeDurable(String pattern, String name, Handler<Leased> handler) {
        return subscribeDurable(pattern, name, new SubscribeOptions(), handler);
    }

    /**
     * Gives each stored message of a channel or pattern to a handler, at least once: the durable subscription of that name keeps them
     * until they are settled, also while nobody is connected, and is made here where there is none. All who name it share its messages.
     * A handler that returns acks; one that throws naks with the text, and the message comes again by the subscription's backoff, until
     * it is a dead letter.
     */
    public CompletableFuture<Subscription> subscribeDurable(
            String pattern, String name, SubscribeOptions options, Handler<Leased> handler) {
        return begin(() -> new DurableSubscription(this, pattern, name, options, handler));
    }

    /** Answers requests; see {@link #respond(String, SubscribeOptions, Responder)}. */
    public CompletableFuture<Subscription> respond(String pattern, Responder handler) {
        return respond(pattern, new SubscribeOptions(), handler);
    }

    /**
     * Answers the requests on a channel or pattern: what the handler returns is the answer; null means that it is done. What it throws
     * fails the request, which who asked hears at once as REQUEST_FAILED. The handler's thread is interrupted at the request's deadline,
     * and when nobody waits for the answer any more. What is no request is passed over.
     */
    public CompletableFuture<Subscription> respond(String pattern, SubscribeOptions options, Responder handler) {
        return begin(() -> new RespondSubscription(this, pattern, options, handler));
    }

    private static CompletableFuture<Subscription> begin(Supplier<Subscription> made) {
        try {
            return made.get().begin();
        } catch (TrunklineException refused) {
            return CompletableFuture.failedFuture(refused);
        }
    }

    // All below is called with the stream's lock held.

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
    private void addStored(String channel, Waiter call) {
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
    private void say(ClientItem.Builder item) {
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
        subscriptions.remove(subscription.id);
        touched.remove(subscription);
    }

    /** What the stream calls. */
    private final class Events implements MultiplexedStream.User<OpenStreamResponse> {
        @Override
        public void gather() {
            List<Subscription> all = List.copyOf(touched);
            touched.clear();
            all.forEach(Subscription::gather);
            seal();
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
            if (isUnconfirmed && refused == null) {
                refused = why;
                LOG.log(System.Logger.Level.WARNING, "what was published to {0} and not flushed may be lost", stream.address());
            }
            touched.clear();
            for (Subscription each : List.copyOf(subscriptions.values())) {
                each.streamLost();
                if (stream.closed() != null) {
                    subscriptions.remove(each.id);
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
                        if (subscription != null) {
                            subscription.take(item.getSubscription());
                        }
                    }
                    case PUBLISHED -> takeReceipts(id, item.getPublished().getReceiptsList());
                    case REPLY -> stream.settle(id, item.getReply());
                    case ERROR -> takeError(id, TrunklineException.fromItem(item.getError()));
                    case PONG -> stream.settle(id, item.getPong());
                    case BUS_CONNECTED -> isAway = false;
                    default -> { } // what newer services say to clients that asked for it; a `move` is one of these: it is served on
                }
            }
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
        if (subscription != null) {
            forget(subscription);
            subscription.end(said);
        } else if (sent != null) {
            refuse(sent, said);
        } else if (!stream.fail(id, said) && id == 0) { // something live was refused
            LOG.log(System.Logger.Level.ERROR, "the service refused a message: {0}", said.toString());
            refused = refused == null ? said : refused;
        }
    }

    /**
     * Fails the call one of whose messages the service refused. Nothing of the frame was published: what other calls had in it is sent
     * again.
     */
    private void refuse(Sent sent, TrunklineException said) {
        String place = said.details().getOrDefault("index", "");
        if (!place.matches("\\d{1,9}") || sent.waiters().size() == 1) {
            fail(sent.waiters(), said);
            return;
        }
        int index = Integer.parseInt(place);
        for (Waiter each : sent.waiters()) {
            if (index >= 0 && index < each.messages().size()) {
                Threads.fail(each.awaited(), said.with("index", Integer.toString(index)));
            } else {
                addStored(sent.channel(), each);
            }
            index -= each.messages().size();
        }
    }
}
