package trunkline;

import com.google.protobuf.Message;
import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Metadata;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.HashSet;
import java.util.Iterator;
import java.util.List;
import java.util.NoSuchElementException;
import java.util.Set;
import java.util.Spliterator;
import java.util.Spliterators;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.function.BooleanSupplier;
import java.util.function.Function;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;
import trunkline.v1.AgentPresence;
import trunkline.v1.AgentState;
import trunkline.v1.BatchRequest;
import trunkline.v1.BatchResponse.Outcome;
import trunkline.v1.DeleteRequest;
import trunkline.v1.Filter;
import trunkline.v1.GetRequest;
import trunkline.v1.ListRequest;
import trunkline.v1.OpenStateStreamRequest;
import trunkline.v1.OpenStateStreamRequest.ClientItem;
import trunkline.v1.OpenStateStreamResponse;
import trunkline.v1.OpenStateStreamResponse.ServerItem;
import trunkline.v1.RecordKind;
import trunkline.v1.SaveRequest;
import trunkline.v1.StateServiceGrpc;
import trunkline.v1.TaskResult;
import trunkline.v1.WatchRequest;
import trunkline.v1.WatchResponse;
import trunkline.v1.WorkflowState;

/**
 * Keeps what agents must find again. Its methods may be called by many threads. While the connection is lost, calls wait for it until
 * their time is over; one that was pending fails with STATE_DISCONNECTED, and it is not known whether its write was made. What the
 * service refuses for now is asked again when it says, within that time.
 *
 * <p>Where the service asks for it, it moves to another connection, and so to another replica: calls go out there when those before
 * them are answered, so that nobody reads there what was before a write here; watches go on there.
 */
public final class State implements AutoCloseable {
    private static final int FETCHED = 1000; // records of one page, where the caller does not say
    private static final int MAX_CALL_BYTES = Connection.MAX_FRAME_BYTES / 2;

    private final ClientLock lock = new ClientLock();
    private final Address at;
    private final ConnectOptions options;
    private final LineMover mover;
    final Again again = new Again(lock);
    private final Channel channel;
    private final Set<ClientCall<?, ?>> watching = new HashSet<>(); // by the lock: the calls of watches

    private State(Address at, ConnectOptions options) {
        this.at = at;
        this.options = options;
        mover = new LineMover();
        channel = new Beside(lock, again, options.callTimeout, this::stream);
    }

    /** Returns the stream of now; with the lock held. */
    private MultiplexedStream<OpenStateStreamResponse> stream() {
        return mover.now().stream;
    }

    /** Connects to a state service or a sidecar; see {@link Bus#connect(String)}. */
    public static CompletableFuture<State> connect(String at) {
        return connect(at, new ConnectOptions());
    }

    /** The same with options. */
    public static CompletableFuture<State> connect(String at, ConnectOptions options) {
        try {
            State state = new State(new Address(at), options);
            return state.mover.now().stream.open().thenApply(up -> state);
        } catch (TrunklineException refused) {
            return CompletableFuture.failedFuture(refused);
        }
    }

    /** Ends the connection; watches end, and what is pending fails. */
    @Override
    public void close() {
        mover.stay(Duration.ZERO);
        List<Line> lines;
        lock.lock();
        try {
            lines = mover.all();
        } finally {
            lock.unlock();
        }
        lines.forEach(each -> each.stream.close());
        lock.lock();
        try {
            again.close(stream().closed());
        } finally {
            lock.unlock();
        }
    }

    /**
     * Returns what makes calls by the connection of now, for those that have no method here: {@code
     * StateServiceGrpc.newBlockingStub(state.channel())}; see {@link Bus#channel}.
     */
    public Channel channel() {
        return channel;
    }

    /** Tells whether the connection is up. */
    public boolean isConnected() {
        lock.lock();
        try {
            return stream().isUp();
        } finally {
            lock.unlock();
        }
    }

    /** Makes the operation that saves a value, for {@link #batch}. */
    public static SaveRequest saveOf(AgentState value, SaveOptions options) {
        return options.wished().setAgentState(value).build();
    }

    /** The same of a workflow. */
    public static SaveRequest saveOf(WorkflowState value, SaveOptions options) {
        return options.wished().setWorkflowState(value).build();
    }

    /** The same of a task's result. */
    public static SaveRequest saveOf(TaskResult value, SaveOptions options) {
        return options.wished().setTaskResult(value).build();
    }

    /** The same of an agent's presence. */
    public static SaveRequest saveOf(AgentPresence value, SaveOptions options) {
        return options.wished().setAgentPresence(value).build();
    }

    /** Saves one record whole; done with its revision when it is as durable as the service makes it. The last write wins. */
    public CompletableFuture<Long> save(AgentState value) {
        return save(value, new SaveOptions());
    }

    /** The same with options. */
    public CompletableFuture<Long> save(AgentState value, SaveOptions options) {
        return save(saveOf(value, options));
    }

    /** The same of a workflow. */
    public CompletableFuture<Long> save(WorkflowState value) {
        return save(value, new SaveOptions());
    }

    /** The same with options. */
    public CompletableFuture<Long> save(WorkflowState value, SaveOptions options) {
        return save(saveOf(value, options));
    }

    /** The same of a task's result. */
    public CompletableFuture<Long> save(TaskResult value) {
        return save(value, new SaveOptions());
    }

    /** The same with options. */
    public CompletableFuture<Long> save(TaskResult value, SaveOptions options) {
        return save(saveOf(value, options));
    }

    /** The same of an agent's presence, with the options that bind it to a lease or end it. */
    public CompletableFuture<Long> save(AgentPresence value, SaveOptions options) {
        return save(saveOf(value, options));
    }

    private CompletableFuture<Long> save(SaveRequest wanted) {
        return call(ClientItem.newBuilder().setSave(wanted), answer -> answer.getSaved().getRevision());
    }

    /** Done with one record; fails with NOT_FOUND where there is none. */
    public CompletableFuture<trunkline.v1.Record> get(RecordKind kind, String id) {
        return call(
                ClientItem.newBuilder().setGet(GetRequest.newBuilder().setKind(kind).setId(id)), answer -> answer.getGot().getRecord());
    }

    /** Deletes one record whatever it is; done with whether there was one. */
    public CompletableFuture<Boolean> delete(RecordKind kind, String id) {
        return delete(DeleteRequest.newBuilder().setKind(kind).setId(id));
    }

    /** Deletes one record that must have this revision; done with whether there was one. */
    public CompletableFuture<Boolean> delete(RecordKind kind, String id, long expectedRevision) {
        return delete(DeleteRequest.newBuilder().setKind(kind).setId(id).setExpectedRevision(expectedRevision));
    }

    private CompletableFuture<Boolean> delete(DeleteRequest.Builder wanted) {
        return call(ClientItem.newBuilder().setDelete(wanted), answer -> answer.getDeleted().getDeleted());
    }

    /** Done with one page of the records of a kind, in order of their ids. An empty filter keeps all; an empty token begins. */
    public CompletableFuture<Page> page(RecordKind kind, Filter filter, int size, String token) {
        ListRequest.Builder wanted = ListRequest.newBuilder().setKind(kind).setFilter(filter).setPageSize(size).setPageToken(token);
        return call(
                ClientItem.newBuilder().setList(wanted),
                answer -> new Page(answer.getListed().getRecordsList(), answer.getListed().getNextPageToken()));
    }

    /** Returns the records of a kind in order of their ids. It asks for them page by page, and waits, as it is read. */
    public Stream<trunkline.v1.Record> list(RecordKind kind, Filter filter) {
        int traits = Spliterator.ORDERED | Spliterator.NONNULL | Spliterator.DISTINCT;
        return StreamSupport.stream(Spliterators.spliteratorUnknownSize(new Records(kind, filter), traits), false);
    }

    private final class Records implements Iterator<trunkline.v1.Record> {
        private final RecordKind kind;
        private final Filter filter;
        private final ArrayDeque<trunkline.v1.Record> fetched = new ArrayDeque<>();
        private String token = "";
        private boolean isLast;

        Records(RecordKind kind, Filter filter) {
            this.kind = kind;
            this.filter = filter;
        }

        @Override
        public boolean hasNext() {
            while (fetched.isEmpty() && !isLast) {
                Page page = joined(page(kind, filter, FETCHED, token));
                fetched.addAll(page.records());
                token = page.next();
                isLast = token.isEmpty();
            }
            return !fetched.isEmpty();
        }

        @Override
        public trunkline.v1.Record next() {
            if (!hasNext()) {
                throw new NoSuchElementException();
            }
            return fetched.removeFirst();
        }
    }

    private static <T> T joined(CompletableFuture<T> future) {
        try {
            return future.join();
        } catch (CompletionException failed) {
            if (failed.getCause() instanceof TrunklineException said) {
                throw said;
            }
            throw failed;
        }
    }

    /**
     * Does many operations in one call; done with what came of each: one of the answers, or an error, which {@link #errorOf} reads.
     *
     * @param isAtomic all writes happen or none
     * @param operations each a SaveRequest, a GetRequest or a DeleteRequest
     */
    public CompletableFuture<List<Outcome>> batch(boolean isAtomic, Message... operations) {
        BatchRequest.Builder batch = BatchRequest.newBuilder().setAtomic(isAtomic);
        for (Message each : operations) {
            BatchRequest.Operation.Builder operation = batch.addOperationsBuilder();
            if (each instanceof SaveRequest save) {
                operation.setSave(save);
            } else if (each instanceof GetRequest get) {
                operation.setGet(get);
            } else if (each instanceof DeleteRequest delete) {
                operation.setDelete(delete);
            } else {
                String kind = each == null ? "null" : each.getClass().getSimpleName();
                return CompletableFuture.failedFuture(TrunklineException.invalid(
                        Reason.INVALID_RECORD, "operations", kind,
                        "an operation is " + kind + ", it must be a SaveRequest, GetRequest or DeleteRequest"));
            }
        }
        return call(ClientItem.newBuilder().setBatch(batch), answer -> answer.getBatched().getOutcomesList());
    }

    /** Returns why an operation failed; null where it did not. */
    public static TrunklineException errorOf(Outcome outcome) {
        return outcome.hasError() ? TrunklineException.fromItem(outcome.getError()) : null;
    }

    /**
     * Gives the records that match to a handler, then SYNCED, then each change in order of revisions, until it is closed. What the
     * handler throws ends the watch, which {@link Watch#done} tells.
     */
    public Watch watch(WatchOptions options, Handler<Change> handler) {
        return new Watch(this, options, handler).begin();
    }

    /** Sends one item; done with what is read of its answer. */
    private <T> CompletableFuture<T> call(ClientItem.Builder item, Function<ServerItem, T> read) {
        CompletableFuture<T> told = MultiplexedStream.timed(
                options.callTimeout,
                () -> disconnected("it did not answer in time"));
        again.new Call<>(told, options.callTimeout, call -> send(item, read, call)).begin();
        return told;
    }

    /** With the lock held. */
    private <T> void send(ClientItem.Builder item, Function<ServerItem, T> read, Again.Call<T> call) {
        MultiplexedStream<OpenStateStreamResponse> stream = stream();
        if (!stream.isUp()) {
            call.beginWhenUp(stream);
            return;
        }
        long id = stream.nextId();
        byte[] encoded = OpenStateStreamRequest.newBuilder().addItems(item.setId(id)).build().toByteArray();
        if (encoded.length > MAX_CALL_BYTES) {
            throw TrunklineException.tooLarge("call", encoded.length, MAX_CALL_BYTES);
        }
        stream.pace();
        if (stream != stream()) { // it moved meanwhile
            send(item, read, call);
            return;
        }
        stream.check();
        stream.expect(id, call.told, answer -> read.apply((ServerItem) answer), () -> {}, call::again);
        stream.put(encoded, false);
    }

    TrunklineException disconnected(String why) {
        lock.lock();
        try {
            return stream().disconnected(why, null);
        } finally {
            lock.unlock();
        }
    }

    /** Begins a watch's call by the connection of now. When there is another connection it is cancelled, to go on there. */
    ClientCall<WatchRequest, WatchResponse> beginWatch(ClientCall.Listener<WatchResponse> told) {
        lock.lock();
        try {
            ClientCall<WatchRequest, WatchResponse> call =
                    channel.newCall(StateServiceGrpc.getWatchMethod(), CallOptions.DEFAULT.withWaitForReady());
            call.start(told, MultiplexedStream.moves());
            watching.add(call);
            return call;
        } finally {
            lock.unlock();
        }
    }

    void endWatch(ClientCall<?, ?> call) {
        lock.lock();
        try {
            watching.remove(call);
            call.cancel("the watch is read no more", null);
        } finally {
            lock.unlock();
        }
    }

    /** Notes that the service asks to go on elsewhere. */
    void askedToMove() {
        lock.lock();
        try {
            mover.asked(mover.now());
        } finally {
            lock.unlock();
        }
    }

    /** Returns why the state was closed; null where it was not. */
    TrunklineException closed() {
        lock.lock();
        try {
            return stream().closed();
        } finally {
            lock.unlock();
        }
    }

    /** One connection. */
    private final class Line implements Mover.Movable, MultiplexedStream.User<OpenStateStreamResponse> {
        final MultiplexedStream<OpenStateStreamResponse> stream = new MultiplexedStream<>(
                new Connection(at, options), Reason.STATE_DISCONNECTED, StateServiceGrpc.getOpenStateStreamMethod(), this, lock);

        @Override
        public MultiplexedStream<?> stream() {
            return stream;
        }

        @Override
        public boolean isIdle() {
            return !stream.isPending();
        }

        @Override
        public void take(OpenStateStreamResponse frame) {
            for (ServerItem item : frame.getItemsList()) {
                switch (item.getItemCase()) {
                    case ERROR -> stream.fail(item.getId(), TrunklineException.fromItem(item.getError()));
                    case MOVE -> mover.asked(this);
                    case ITEM_NOT_SET -> { } // of a newer service
                    default -> stream.settle(item.getId(), item);
                }
            }
        }

        @Override
        public void wentUp(Metadata greeting) {}

        @Override
        public void wentDown(TrunklineException why) {}

        @Override
        public void gather() {}
    }

    /** Moves calls when those before are answered, and watches at once. */
    private final class LineMover extends Mover<Line> {
        LineMover() {
            super(State.this.lock, new Line());
        }

        @Override
        void arrive(Line old, BooleanSupplier isWanted) {
            Line made = new Line();
            try {
                await(made.stream.openBeside());
                lock.lock();
                try {
                    if (!isWanted.getAsBoolean()) {
                        throw old.stream.disconnected("it was lost or closed", null);
                    }
                    takePlace(made, old);
                    watching.forEach(each -> each.cancel("it goes on by another connection", null));
                } finally {
                    lock.unlock();
                }
            } catch (RuntimeException | Error away) {
                made.stream.close();
                throw away;
            }
        }

        @Override
        void settle(Line old) {
            await(old, () -> !old.stream.isUp() || !old.stream.isPending());
        }
    }
}
