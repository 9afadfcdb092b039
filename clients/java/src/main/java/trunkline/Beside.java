package trunkline;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.ForwardingClientCall.SimpleForwardingClientCall;
import io.grpc.ForwardingClientCallListener.SimpleForwardingClientCallListener;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Status;
import java.time.Duration;
import java.util.function.Supplier;

/** Makes the calls beside a client's stream, by the connection of now. Its end waits for them. */
final class Beside extends Channel {
    private final ClientLock lock;
    private final Again again;
    private final Duration patience;
    private final Supplier<MultiplexedStream<?>> now; // by the lock

    /**
     * @param patience for how long a unary call without a deadline is made again that the service refuses for now
     */
    Beside(ClientLock lock, Again again, Duration patience, Supplier<MultiplexedStream<?>> now) {
        this.lock = lock;
        this.again = again;
        this.patience = patience;
        this.now = now;
    }

    private MultiplexedStream<?> now() {
        lock.lock();
        try {
            return now.get();
        } finally {
            lock.unlock();
        }
    }

    @Override
    public String authority() {
        return now().connection.channel.authority();
    }

    @Override
    public <A, B> ClientCall<A, B> newCall(MethodDescriptor<A, B> method, CallOptions options) {
        Supplier<ClientCall<A, B>> made = () -> {
            MultiplexedStream<?> stream = now();
            return new Counted<>(stream.connection.channel.newCall(method, options), stream);
        };
        boolean isUnary = method.getType() == MethodDescriptor.MethodType.UNARY;
        return isUnary ? new UnaryCall<>(lock, again, options, patience, made) : made.get();
    }

    private static final class Counted<A, B> extends SimpleForwardingClientCall<A, B> {
        private final MultiplexedStream<?> stream;

        Counted(ClientCall<A, B> call, MultiplexedStream<?> stream) {
            super(call);
            this.stream = stream;
        }

        @Override
        public void start(Listener<B> told, Metadata headers) {
            count(stream::callBegins);
            try {
                super.start(
                        new SimpleForwardingClientCallListener<>(told) {
                            @Override
                            public void onClose(Status status, Metadata trailers) {
                                count(stream::callEnds);
                                super.onClose(status, trailers);
                            }
                        },
                        headers);
            } catch (RuntimeException | Error notBegun) {
                count(stream::callEnds);
                throw notBegun;
            }
        }

        private void count(Runnable change) {
            stream.lock.lock();
            try {
                change.run();
            } finally {
                stream.lock.unlock();
            }
        }
    }
}
