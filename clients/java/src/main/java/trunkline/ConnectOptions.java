package trunkline;

import java.net.InetAddress;
import java.net.UnknownHostException;
import java.time.Duration;
import java.util.concurrent.Callable;
import java.util.function.Consumer;

/** How a connection is made. What is called back runs in a thread of its own. */
public final class ConnectOptions {
    private static final int MAX_CLIENT_NAME = 255; // characters

    Tls tls;
    Callable<String> token;
    private String clientName = "";
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

    /**
     * Says what this client is called, for people: subscriptions, leases and records that it wrote show it, also after a reconnect. It
     * proves nothing. At most 255 characters that can be printed. Default: TRUNKLINE_CLIENT_NAME, else the host's name and the process.
     */
    public ConnectOptions clientName(String name) {
        this.clientName = name;
        return this;
    }

    /** Returns what this client is called. */
    String clientName() {
        String name = clientName.isEmpty() ? System.getenv().getOrDefault("TRUNKLINE_CLIENT_NAME", "") : clientName;
        if (name.isEmpty()) {
            return hostName() + ":" + ProcessHandle.current().pid();
        }
        if (name.codePointCount(0, name.length()) > MAX_CLIENT_NAME || name.codePoints().anyMatch(Character::isISOControl)) {
            throw TrunklineException.invalid(
                    Reason.INVALID_MESSAGE, "client_name", name,
                    "client_name is '" + name + "', it must be 1 to " + MAX_CLIENT_NAME + " characters that can be printed");
        }
        return name;
    }

    private static String hostName() {
        try {
            return InetAddress.getLocalHost().getHostName();
        } catch (UnknownHostException nameless) {
            return "java"; // only a default for people
        }
    }

    /** Says how long connecting may take, also where the service refuses it for now and says when to ask again. Default: 5 s. */
    public ConnectOptions connectTimeout(Duration timeout) {
        this.connectTimeout = timeout;
        return this;
    }

    /**
     * Says how long other calls may take, but for requests, which have their own: for so long, what the service refuses for now is asked
     * again, too. Default: 30 s.
     */
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
