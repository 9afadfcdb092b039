package trunkline;

import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Where a service or a sidecar is: {@code host:port}, {@code tls://host:port} or {@code unix:/path}. */
record Address(String text) {
    private static final String UNIX = "unix:";
    private static final String TLS = "tls://";
    private static final int MAX_SOCKET_PATH = 107; // bytes of sun_path on Linux, less its end
    private static final String FORMS = "want host:port, such as 127.0.0.1:7431, tls://host:port, or unix:/path";
    private static final Pattern HOST_PORT = Pattern.compile("(\\[[^\\[\\]/\\s]+\\]|[^:\\[\\]/\\s]+):([^:]*)");

    Address {
        String fault = faultOf(text);
        if (fault != null) {
            String shown = text == null ? "null" : text.substring(0, Math.min(text.length(), 80));
            throw TrunklineException.invalid(Reason.INVALID_ADDRESS, "address", shown, "\"" + shown + "\" is no address: " + fault);
        }
    }

    boolean isUnix() {
        return text.startsWith(UNIX);
    }

    boolean isTls() {
        return text.startsWith(TLS);
    }

    String socketPath() {
        return text.substring(UNIX.length());
    }

    private static String hostPortOf(String text) {
        return text.startsWith(TLS) ? text.substring(TLS.length()) : text;
    }

    String hostPort() {
        return hostPortOf(text);
    }

    /** The host without the brackets of IPv6. */
    String host() {
        String host = hostPort().substring(0, hostPort().lastIndexOf(':'));
        return host.startsWith("[") ? host.substring(1, host.length() - 1) : host;
    }

    int port() {
        return Integer.parseInt(hostPort().substring(hostPort().lastIndexOf(':') + 1));
    }

    /** The address as gRPC takes it: names are looked up anew where a connection is lost. */
    String target() {
        return isUnix() ? text : "dns:///" + hostPort();
    }

    /** Tells whether the address stays on this machine whatever a name server says. */
    boolean isLoopback() {
        return isUnix() || host().equals("localhost") || host().equals("::1") || host().matches("127(\\.\\d{1,3}){3}");
    }

    private static String faultOf(String text) {
        if (text == null) {
            return FORMS;
        }
        if (text.startsWith(UNIX)) {
            String path = text.substring(UNIX.length());
            if (path.isEmpty() || path.indexOf('\0') >= 0) {
                return "a UNIX socket needs a path, such as unix:/run/trunkline/bus.sock";
            }
            return path.getBytes(StandardCharsets.UTF_8).length > MAX_SOCKET_PATH ? "a UNIX socket's path has at most 107 bytes" : null;
        }
        String hostPort = hostPortOf(text);
        if (hostPort.contains("://")) {
            return FORMS + ": " + hostPort.substring(0, hostPort.indexOf("://")) + ":// has no place in an address";
        }
        Matcher parts = HOST_PORT.matcher(hostPort);
        if (!parts.matches()) {
            return FORMS;
        }
        if (!parts.group(2).matches("\\d{1,5}") || Integer.parseInt(parts.group(2)) > 65535) {
            return FORMS + ": a port is 1 to 65535";
        }
        return Integer.parseInt(parts.group(2)) == 0 ? FORMS + ": nothing serves on port 0" : null;
    }
}
