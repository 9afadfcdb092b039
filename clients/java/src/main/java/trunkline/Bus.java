package trunkline;

import io.grpc.Channel;
import io.grpc.Metadata;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import java.util.function.Supplier;
import java.util.stream.Stream;
import trunkline.v1.BusServiceGrpc;
import trunkline.v1.LifeEvent;
import trunkline.v1.Message;
import trunkline.v1.OpenStreamRequest.Cancel;
import trunkline.v1.OpenStreamRequest.ClientItem;
import trunkline.v1.Receipt;
import trunkline.v1.RequestRequest;
import trunkline.v1.RequestResponse;

/**
 * Carries messages between agents. Its methods may be called by many threads. Futures fail with {@link TrunklineException}; one that
 * is cancelled gives up its call.
 *
 * <p>Where the service asks for it, it moves to another connection, and so to another replica: nothing is lost, doubled or failed by
 * that.
 */
public final class Bus implements AutoCloseable {
    private static final Metadata.Key<String> GREETING = Metadata.Key.of("trunkline-bus", Metadata.ASCII_STRING_MARSHALLER);
    private static final System.Logger LOG = System.getLogger("trunkline");

    final ClientLock lock = new ClientLock();
    final SessionMover mover;
    private final Address at;
    final ConnectOptions options;
    final Again again = new Again(lock);
    final Turn publishing = new Turn(lock); // of what was refused for now, and of all that is published after it
    private final Channel channel;
    private TrunklineException refused; // by the lock: the first one of something live since the last flush

    private Bus(Address at, ConnectOptions options) {
        this.at = at;
        this.options = options;
        mover = new SessionMover(this);
        channel = new Beside(lock, again, options.callTimeout, () -> now().stream);
    }

    Session newSession() {
        return new Session(this, new Connection(at, options));
    }

    /** Returns the session of now; with the lock held. */
    Session now() {
        return mover.now();
    }

    /** Connects to a bus or a sidecar: host:port, tls://host:port or unix:/path. The connection lasts until it is closed. */
    public static CompletableFuture<Bus> connect(String at) {
        return connect(at, new ConnectOptions());
    }

    /** The same with options. */
    public static CompletableFuture<Bus> connect(String at, ConnectOptions options) {
        try {
            Bus bus = new Bus(new Address(at), options);
            return bus.mover.now().stream.open().thenApply(up -> bus);
        } catch (TrunklineException refused) {
            return CompletableFuture.failedFuture(refused);
        }
    }

    /**
     * Returns what makes calls by the connection of now, for those that have no method here: {@code
     * BusServiceGrpc.newBlockingStub(bus.channel())}. What stubs throw is read by {@link TrunklineException#of}. A unary call that the
     * service refuses for now is made again when it says, before its deadline; without one, within the time of a call.
     */
    public Channel channel() {
        return channel;
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
        long ends = System.nanoTime() + patience.toNanos();
        mover.stay(patience);
        List<Subscription> all;
        lock.lock();
        try {
            all = mover.all().stream().flatMap(each -> List.copyOf(each.subscriptions.values()).stream()).toList();
            all.forEach(Subscription::stop);
        } finally {
            lock.unlock();
        }
        settled(allOf(all.stream().map(Subscription::drain)), Duration.ofNanos(Math.max(ends - System.nanoTime(), 0)));
        all.forEach(Subscription::close);
        List<Session> sessions;
        lock.lock();
        try {
            sessions = mover.all();
        } finally {
            lock.unlock();
        }
        settled(allOf(sessions.stream().map(this::flush)), Duration.ofSeconds(2)); // what was said on each shall still arrive
        sessions.forEach(each -> each.stream.close());
        lock.lock();
        try {
            again.close(now().stream.closed());
            publishing.open(); // whoever waits looks at `closed`
        } finally {
            lock.unlock();
        }
    }

    private static CompletableFuture<Void> allOf(Stream<CompletableFuture<Void>> all) {
        return CompletableFuture.allOf(all.toArray(CompletableFuture<?>[]::new));
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
        lock.lock();
        try {
            return now().stream.isUp() && !now().isAway;
        } finally {
            lock.unlock();
        }
    }

    /**
     * Publishes live messages on a channel: at most once, to who subscribes now. It returns once the bounded buffer took them; {@link
     * #flush} is done once the service did. While the connection is lost they wait in the buffer. What the service refuses for now is
     * lost, as {@link #flush} tells; what is published after it waits here until the service takes it.
     *
     * @throws TrunklineException INVALID_CHANNEL, INVALID_MESSAGE, MESSAGE_TOO_LARGE; BUS_DISCONNECTED where the connection is lost and
     *     the buffer is full; OVERLOADED where the service does not take it within the time of a call
     */
    public void publish(String channel, Message... messages) {
        Channels.checkChannel(channel);
        for (Message each : messages) {
            Messages.checkLive(each);
            byte[] encoded = encode(each);
            lock.lock();
            try {
                publishing.await(options.callTimeout, 0);
                ready().addLive(channel, encoded);
            } finally {
                lock.unlock();
            }
        }
    }

    /** Returns the session of now when there is room in its buffer; with the lock held. */
    private Session ready() {
        Session session;
        do {
            session = now();
            session.stream.pace();
        } while (session != now()); // it moved meanwhile
        if (session.stream.closed() != null) {
            throw session.stream.closed();
        }
        return session;
    }

    private byte[] encode(Message message) {
        return Messages.encode(message, options.maxMessageBytes);
    }

    private CompletableFuture<Void> whenUp() {
        lock.lock();
        try {
            return now().stream.whenUp();
        } finally {
            lock.unlock();
        }
    }

    /**
     * Publishes messages to be stored; done with their receipts after the sync to disk. What many publish at once goes together. Each
     * message has an id, made here where it has none; where the connection is lost before the receipts came, the same messages are sent
     * again until the call's time is over: a message is stored once if its bus is back within its dedup window, 2 minutes by default.
     * So they are where the service refuses them for now, when it says; what is published after them waits behind them. Where the buffer
     * is full, or as much waits so, this waits.
     */
    public CompletableFuture<List<Receipt>> publishStored(String channel, Message... messages) {
        List<byte[]> all = new ArrayList<>(messages.length);
        int size = 0;
        try {
            Channels.checkChannel(channel);
            if (messages.length == 0) {
                throw TrunklineException.invalid(Reason.INVALID_MESSAGE, "messages", 0, "there is no message to publish");
            }
            for (Message each : messages) {
                byte[] encoded = encode(Messages.named(each));
                all.add(encoded);
                size += encoded.length;
            }
        } catch (TrunklineException refused) {
            boolean isMessage = !refused.is(Reason.INVALID_CHANNEL) && messages.length > 0;
            return CompletableFuture.failedFuture(isMessage ? refused.with("index", Integer.toString(all.size())) : refused);
        }
        CompletableFuture<List<Receipt>> told = MultiplexedStream.timed(options.callTimeout, TrunklineException::late);
        List<Receipt> came = new ArrayList<>(all.size());
        Again.Call<List<Receipt>> storing =
                again.new Call<>(told, options.callTimeout, publishing, size, call -> storeRest(channel, all, came, call));
        lock.lock();
        try {
            publishing.await(options.callTimeout, MultiplexedStream.BUFFER_BYTES);
            storing.begin();
        } catch (RuntimeException notSent) {
            Threads.fail(told, notSent);
        } finally {
            lock.unlock();
        }
        return told;
    }

    /** With the lock held. */
    private void storeRest(String channel, List<byte[]> all, List<Receipt> came, Again.Call<List<Receipt>> call) {
        List<byte[]> some = all.subList(came.size(), Math.min(all.size(), came.size() + MultiplexedStream.FRAME_MESSAGES));
        CompletableFuture<List<Receipt>> awaited = new CompletableFuture<>();
        awaited.whenComplete((receipts, failed) -> {
            if (failed == null) {
                came.addAll(receipts);
                if (came.size() == all.size()) {
                    call.told.complete(List.copyOf(came));
                } else {
                    call.begin();
                }
                return;
            }
            TrunklineException why = TrunklineException.of(failed);
            if (why != null && why.is(Reason.BUS_DISCONNECTED)) {
                whenUp().whenComplete((up, gone) -> {
                    if (gone == null) {
                        call.begin();
                    } else {
                        call.told.completeExceptionally(why);
                    }
                });
            } else {
                call.told.completeExceptionally(why == null ? failed : why);
            }
        });
        try {
            now().stream.check();
            Session session = ready();
            session.stream.check();
            session.addStored(channel, new Session.Waiter(some, awaited, call::again));
        } catch (RuntimeException notSent) {
            Threads.fail(awaited, notSent);
        }
    }

    /**
     * Done when the service took all that was published live. Fails with the first refusal since the last flush, or where the
     * connection was lost meanwhile, with which some of it may be lost too.
     */
    public CompletableFuture<Void> flush() {
        lock.lock();
        try {
            return flush(now());
        } finally {
            lock.unlock();
        }
    }

    private CompletableFuture<Void> flush(Session session) {
        CompletableFuture<Void> flushed = MultiplexedStream.timed(options.callTimeout, TrunklineException::late);
        lock.lock();
        try {
            session.ping(false, flushed, this::tellRefused);
        } catch (TrunklineException away) {
            Threads.fail(flushed, away);
        } finally {
            lock.unlock();
        }
        return flushed;
    }

    /** Notes that something live was refused; tells whether it is the first one. With the lock held. */
    boolean noteRefused(TrunklineException why) {
        boolean isFirst = refused == null;
        if (isFirst) {
            refused = why;
        }
        return isFirst;
    }

    private void tellRefused() {
        TrunklineException first = refused;
        refused = null;
        if (first != null) {
            throw first;
        }
    }

    /** Publishes a message and waits 30 seconds for its reply; see {@link #request(String, Message, RequestOptions)}. */
    public CompletableFuture<Received> request(String channel, Message message) {
        return request(channel, message, new RequestOptions());
    }

    /**
     * Publishes a message; done with its reply, by {@link #respond} or any message published with its correlation id. Who cancels the
     * future cancels the request. Where the service refuses it for now, it is sent again when the service says, within its timeout.
     */
    public CompletableFuture<Received> request(String channel, Message message, RequestOptions options) {
        return send(channel, message, options, (wanted, call) -> {
            Session session = now();
            long id = session.stream.nextId();
            session.say(ClientItem.newBuilder().setId(id).setRequest(wanted));
            session.stream.expect(
                    id, call.told,
                    answer -> {
                        RequestResponse came = (RequestResponse) answer;
                        return new Received(came.getMessage(), came.getChannel(), 0);
                    },
                    () -> session.cancelItem(id, Cancel.getDefaultInstance()),
                    call::again);
        });
    }

    /** Follows a request for 30 seconds; see {@link #requestStream(String, Message, RequestOptions, Handler)}. */
    public CompletableFuture<LifeEvent> requestStream(String channel, Message message, Handler<LifeEvent> handler) {
        return requestStream(channel, message, new RequestOptions(), handler);
    }

    /**
     * Publishes a message and gives the life of the request to a handler: accepted, progress and parts in any number, then one end,
     * which is the last: a result, a failure, or cancelled. A second accepted says that another responder begins anew: its parts follow
     * from the first. The handler gets one event after the other, in a thread of its own; what it is not done with keeps the responder
     * waiting, and of progress that waits for it, the newest is kept.
     *
     * <p>Done with the end, behind the handler. Who cancels the future cancels the request, and interrupts the handler; what the handler
     * throws does so, too, and the future fails with it. Else it fails as {@link #request(String, Message, RequestOptions)} does, but
     * for REQUEST_FAILED and REQUEST_CANCELLED, which are events. It is not sent again.
     */
    public CompletableFuture<LifeEvent> requestStream(
            String channel, Message message, RequestOptions options, Handler<LifeEvent> handler) {
        return send(channel, message, options, (wanted, call) -> new Asking(now(), wanted, handler, call.told));
    }

    /** Sends a request, with the lock held; where a responder is waited for, so is the connection. */
    private <T> CompletableFuture<T> send(
            String channel, Message message, RequestOptions options, BiConsumer<RequestRequest.Builder, Again.Call<T>> ask) {
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
        CompletableFuture<T> told = MultiplexedStream.timed(options.timeout, () -> TrunklineException.late(channel, options.timeout));
        Consumer<Again.Call<T>> asking = call -> {
            MultiplexedStream<?> stream = now().stream;
            if (options.waitsForResponder && !stream.isUp()) {
                call.beginWhenUp(stream);
                return;
            }
            stream.check();
            Duration left = Duration.ofNanos(Math.max(ends - System.nanoTime(), 1_000_000));
            ask.accept(wanted.setTimeout(Messages.duration(left)), call);
        };
        again.new Call<>(told, options.timeout, asking).begin();
        return told;
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
}
