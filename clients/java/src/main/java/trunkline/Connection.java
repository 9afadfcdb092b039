package trunkline;

import io.grpc.CallCredentials;
import io.grpc.Channel;
import io.grpc.ChannelCredentials;
import io.grpc.ClientInterceptor;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.TlsChannelCredentials;
import io.grpc.stub.MetadataUtils;
import java.net.URLEncoder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import java.util.concurrent.Executor;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;

/** The gRPC connection to an address, with TLS and tokens. */
final class Connection {
    static final int MAX_FRAME_BYTES = 64 * 1024 * 1024; // of one gRPC message of many

    final Address at;
    final ConnectOptions options;
    final ManagedChannel transport;
    /** Over which calls go: with the client's name, and the token. */
    final Channel channel;

    private final Tls tls; // null: without
    private final Bearer bearer; // null: without

    /** Makes it; nothing is sent yet. */
    Connection(Address at, ConnectOptions options) {
        this.at = at;
        this.options = options;
        if (!at.isTls() && options.tls != null) {
            throw Tls.error(at, "tls_required", "TLS is given, and it is called without: write tls://host:port");
        }
        tls = !at.isTls() ? null : options.tls == null ? Tls.ofEnvironment() : options.tls.orEnvironment();
        Callable<String> token = options.token == null ? tokenOfEnvironment() : options.token;
        if (token != null && !at.isTls() && !at.isLoopback()) {
            throw Tls.error(at, "tls_required", "a token goes over TLS, a UNIX socket or loopback alone: write tls://host:port");
        }
        bearer = token == null ? null : new Bearer(token);
        ManagedChannelBuilder<?> builder = Grpc.newChannelBuilder(at.target(), credentials())
                .proxyDetector(server -> null)
                .disableRetry()
                .maxInboundMessageSize(MAX_FRAME_BYTES)
                .keepAliveTime(20, TimeUnit.SECONDS)
                .keepAliveTimeout(10, TimeUnit.SECONDS)
                .keepAliveWithoutCalls(true)
                .idleTimeout(365, TimeUnit.DAYS)
                .executor(Threads.POOL);
        if (at.isUnix()) {
            builder.overrideAuthority("localhost");
        } else if (tls != null && !tls.serverName().isEmpty()) {
            builder.overrideAuthority(tls.serverName());
        }
        transport = builder.build();
        Channel named = ClientInterceptors.intercept(transport, MetadataUtils.newAttachHeadersInterceptor(called(options.clientName())));
        channel = bearer == null ? named : ClientInterceptors.intercept(named, withToken(bearer));
    }

    private ChannelCredentials credentials() {
        if (tls == null) {
            return InsecureChannelCredentials.create();
        }
        TlsChannelCredentials.Builder made = TlsChannelCredentials.newBuilder().trustManager(tls.trusted(at));
        if (tls.shown(at).length > 0) {
            made.keyManager(tls.shown(at));
        }
        return made.build();
    }

    /** Lets the next call connect anew, and look the name up anew, instead of waiting for gRPC's own delays. */
    void renew() {
        transport.enterIdle();
    }

    void close() {
        transport.shutdownNow();
    }

    TrunklineException whyRefused() {
        return Handshake.whyRefused(at, tls);
    }

    /** Tells whether there is another token now than was given last, or none to be had. */
    boolean hasOtherToken() {
        return bearer != null && bearer.hasOther();
    }

    private static Callable<String> tokenOfEnvironment() {
        String text = System.getenv().getOrDefault("TRUNKLINE_TOKEN", "");
        String file = System.getenv().getOrDefault("TRUNKLINE_TOKEN_FILE", "");
        if (!text.isEmpty() && !file.isEmpty()) {
            throw new TrunklineException(
                    Reason.UNAUTHENTICATED, Status.Code.UNAUTHENTICATED,
                    "both TRUNKLINE_TOKEN and TRUNKLINE_TOKEN_FILE are set: which of them counts?");
        }
        if (!text.isEmpty()) {
            return () -> text;
        }
        return file.isEmpty() ? null : () -> Files.readString(Path.of(file));
    }

    /** Returns the metadata that says what a client is called. */
    private static Metadata called(String name) {
        Metadata headers = new Metadata();
        String encoded = URLEncoder.encode(name, StandardCharsets.UTF_8).replace("+", "%20");
        headers.put(Metadata.Key.of("trunkline-client", Metadata.ASCII_STRING_MARSHALLER), encoded);
        return headers;
    }

    private static ClientInterceptor withToken(CallCredentials token) {
        return new ClientInterceptor() {
            @Override
            public <A, B> io.grpc.ClientCall<A, B> interceptCall(
                    io.grpc.MethodDescriptor<A, B> method, io.grpc.CallOptions calling, Channel next) {
                return next.newCall(method, calling.withCallCredentials(token));
            }
        };
    }

    /** Gives a token to each call. */
    private static final class Bearer extends CallCredentials {
        private static final Metadata.Key<String> KEY = Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER);
        private static final Pattern TOKEN = Pattern.compile("[!-~]{1,8192}");

        private final Callable<String> asked;
        private volatile String given; // the last one

        Bearer(Callable<String> asked) {
            this.asked = asked;
        }

        boolean hasOther() {
            try {
                return !asked.call().strip().equals(given);
            } catch (Exception unavailable) {
                return true; // the next call says why
            }
        }

        @Override
        public void applyRequestMetadata(RequestInfo call, Executor executor, MetadataApplier applier) {
            executor.execute(() -> apply(applier));
        }

        private void apply(MetadataApplier applier) {
            String token;
            try {
                token = asked.call().strip();
            } catch (Exception unavailable) {
                applier.fail(Status.UNAUTHENTICATED.withDescription("the token cannot be had: " + unavailable.getMessage()));
                return;
            }
            if (!TOKEN.matcher(token).matches()) {
                applier.fail(Status.UNAUTHENTICATED.withDescription(
                        "what is given is no token: 1 to 8192 printable ASCII characters without blanks"));
                return;
            }
            given = token;
            Metadata headers = new Metadata();
            headers.put(KEY, "Bearer " + token);
            applier.apply(headers);
        }
    }
}
