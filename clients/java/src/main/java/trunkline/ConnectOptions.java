package trunkline;

import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.function.Consumer;

/** How a connection is made. What is called back runs in a thread of its own. */
public final class ConnectOptions {
    Tls tls;
    Callable<String> token;
    Duration connectTimeout = Duration.ofSeconds(5);
    Duration callTimeout = Duration.ofSeconds(30);
    int maxMessageBytes = 4 * 1024 * 1024;
    boolean waits = true;
    Consumer<TrunklineException> onDisconnected = why -> {};
    Runnable onReconnected = () -> {};

    /** Says what is trusted and shown at a tls:// address. Without it, the environment does; see {@link Tls}. */
    public ConnectOptions tls(Tls tls) {
        this.tls = tls;
        return this;
    }

    /**
     * Sends a bearer token with each call, which is asked for anew each time. Default: TRUNKLINE_TOKEN, or what the file has that
     * TRUNKLINE_TOKEN_FILE names, read anew each time. It goes over TLS, to a UNIX socket or to loopback alone: elsewhere connecting
     * fails.
     */
    public ConnectOptions token(Callable<String> token) {
        this.token = token;
        return this;
    }

    /** Says how long connecting may take. Default: 5 s. */
    public ConnectOptions connectTimeout(Duration timeout) {
        this.connectTimeout = timeout;
        return this;
    }

    /** Says how long other calls may take, but for requests, which have their own. Default: 30 s. */
    public ConnectOptions callTimeout(Duration timeout) {
        this.callTimeout = timeout;
        return this;
    }

    /** Says how large one encoded message may be; the service has its own limit. Default: 4 MiB. */
    public ConnectOptions maxMessageBytes(int limit) {
        this.maxMessageBytes = limit;
        return this;
    }

    /** Lets connecting fail at once where the service cannot be reached. Default: it is waited for. */
    public ConnectOptions withoutWaiting() {
        this.waits = false;
        return this;
    }

    /** Is told why when the connection is lost. Default: nobody. */
    public ConnectOptions onDisconnected(Consumer<TrunklineException> told) {
        this.onDisconnected = told;
        return this;
    }

    /** Is told when the connection is back, after subscriptions were asked for again. Default: nobody. */
    public ConnectOptions onReconnected(Runnable told) {
        this.onReconnected = told;
        return this;
    }
}
