package trunkline;

import java.io.EOFException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.security.cert.CertPathBuilderException;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertificateException;
import java.security.cert.CertificateExpiredException;
import java.security.cert.CertificateNotYetValidException;
import java.security.cert.X509Certificate;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/** Asks why no connection can be made, by a handshake of its own. */
final class Handshake {
    private static final int PATIENCE_MILLIS = 2000;

    private Handshake() {}

    /** Returns why TLS is the reason; null where it is not, or it cannot be told. */
    static TrunklineException whyRefused(Address at, Tls tls) {
        if (at.isUnix()) {
            return null;
        }
        try (Socket raw = new Socket()) {
            raw.setSoTimeout(PATIENCE_MILLIS);
            raw.connect(new InetSocketAddress(at.host(), at.port()), PATIENCE_MILLIS);
            return tls == null ? whyWithout(at, raw) : whyWith(at, tls, raw);
        } catch (IOException away) {
            return null; // nobody is there: TLS is not the reason
        }
    }

    /** It is called without TLS: does it speak TLS? */
    private static TrunklineException whyWithout(Address at, Socket raw) {
        SSLContext any = Tls.context(new KeyManager[0], new TrustManager[] {new AnyCertificate()});
        try (SSLSocket socket = over(raw, any, at.host(), at.port())) {
            socket.startHandshake();
        } catch (IOException failed) {
            if (!isAlert(failed)) {
                return null;
            }
        }
        return Tls.error(at, "tls_required", "it speaks TLS: write tls://" + at.text());
    }

    private static TrunklineException whyWith(Address at, Tls tls, Socket raw) {
        String name = tls.serverName().isEmpty() ? at.host() : tls.serverName();
        try (SSLSocket socket = over(raw, tls.context(at), name, at.port())) {
            SSLParameters parameters = socket.getSSLParameters();
            parameters.setEndpointIdentificationAlgorithm("HTTPS");
            socket.setSSLParameters(parameters);
            socket.startHandshake();
            return whyAfter(at, tls, socket);
        } catch (IOException failed) {
            return refusal(at, name, failed);
        }
    }

    /** Since TLS 1.3 a client's certificate is judged after the client's handshake. */
    private static TrunklineException whyAfter(Address at, Tls tls, SSLSocket socket) {
        try {
            if (socket.getInputStream().read() >= 0) {
                return null;
            }
        } catch (SocketTimeoutException silent) {
            return null;
        } catch (IOException failed) {
            if (isAlert(failed)) {
                return refusal(at, at.host(), failed);
            }
        }
        String reason = tls.hasOwn() ? "certificate_refused" : "certificate_required";
        return Tls.error(at, reason, "it hangs up after the handshake (TRUNKLINE_TLS_CERT)");
    }

    private static SSLSocket over(Socket raw, SSLContext context, String name, int port) throws IOException {
        SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(raw, name, port, true);
        SSLParameters parameters = socket.getSSLParameters();
        parameters.setApplicationProtocols(new String[] {"h2"});
        socket.setSSLParameters(parameters);
        return socket;
    }

    private static TrunklineException refusal(Address at, String name, IOException failed) {
        String said = String.valueOf(failed.getMessage());
        if (has(failed, CertificateExpiredException.class) || has(failed, CertificateNotYetValidException.class)) {
            return Tls.error(at, "expired", "its certificate is not valid now: " + said).because(failed);
        }
        if (has(failed, CertPathBuilderException.class) || has(failed, CertPathValidatorException.class)) {
            return Tls.error(at, "untrusted_authority", "its certificate is not trusted: " + said + " (TRUNKLINE_TLS_CA)").because(failed);
        }
        if (has(failed, CertificateException.class)) {
            return Tls.error(at, "wrong_name", "its certificate is not for " + name + ": " + said + " (TRUNKLINE_TLS_SERVER_NAME)")
                    .because(failed);
        }
        if (failed instanceof SocketTimeoutException) {
            return null;
        }
        if (isAlert(failed)) {
            if (said.contains("certificate_required")) {
                return Tls.error(at, "certificate_required", "it asks for a client certificate, and none is given").because(failed);
            }
            String reason = said.contains("certificate") || said.contains("unknown_ca") ? "certificate_refused" : "handshake_failed";
            return Tls.error(at, reason, "it does not take the client: " + said).because(failed);
        }
        boolean isCut = failed instanceof SocketException || has(failed, EOFException.class);
        if (isCut || (failed instanceof SSLException && said.contains("SSL message"))) {
            return Tls.error(at, "not_tls", "it does not speak TLS").because(failed);
        }
        return Tls.error(at, "handshake_failed", said).because(failed);
    }

    private static boolean isAlert(IOException failed) {
        return String.valueOf(failed.getMessage()).contains("Received fatal alert"); // Java has no class for it
    }

    private static boolean has(Throwable failed, Class<?> kind) {
        for (Throwable each = failed; each != null; each = each.getCause()) {
            if (kind.isInstance(each)) {
                return true;
            }
        }
        return false;
    }

    /** Takes any certificate: it is only asked whether there is one. */
    private static final class AnyCertificate implements X509TrustManager {
        @Override
        public void checkClientTrusted(X509Certificate[] chain, String kind) {}

        @Override
        public void checkServerTrusted(X509Certificate[] chain, String kind) {}

        @Override
        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }
}
