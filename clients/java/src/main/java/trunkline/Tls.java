package trunkline;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.security.Principal;
import java.security.PrivateKey;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Map;
import javax.net.ssl.KeyManager;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLEngine;
import javax.net.ssl.TrustManager;
import javax.net.ssl.TrustManagerFactory;
import javax.net.ssl.X509ExtendedKeyManager;

/**
 * What is trusted at a tls:// address, and what is shown of oneself. What is null is what the variables TRUNKLINE_TLS_CA,
 * TRUNKLINE_TLS_CERT, TRUNKLINE_TLS_KEY and TRUNKLINE_TLS_SERVER_NAME say, as for every client. Own certificate and key are read anew
 * for each connection.
 *
 * @param ca the authorities that may sign the service's certificate: a PEM file, PEM itself, or "system" (the default: Java's own)
 * @param cert the client's own certificate, a PEM file or PEM, for a service that asks for one
 * @param key its key, the same
 * @param serverName the name that the service's certificate must have; default: the host of the address
 */
public record Tls(String ca, String cert, String key, String serverName) {
    /** Trusts authorities, and shows nothing. */
    public static Tls trusting(String ca) {
        return new Tls(ca, null, null, null);
    }

    /** Trusts what the environment says. */
    static Tls ofEnvironment() {
        return new Tls(null, null, null, null).orEnvironment();
    }

    /** Shows a certificate of the client's own. */
    public Tls showing(String cert, String key) {
        return new Tls(ca, cert, key, serverName);
    }

    /** Wants this name in the service's certificate. */
    public Tls named(String serverName) {
        return new Tls(ca, cert, key, serverName);
    }

    Tls orEnvironment() {
        return new Tls(
                pick(ca, "TRUNKLINE_TLS_CA"), pick(cert, "TRUNKLINE_TLS_CERT"), pick(key, "TRUNKLINE_TLS_KEY"),
                pick(serverName, "TRUNKLINE_TLS_SERVER_NAME"));
    }

    private static String pick(String given, String variable) {
        String otherwise = System.getenv(variable);
        return given != null && !given.isEmpty() ? given : otherwise == null ? "" : otherwise;
    }

    boolean hasOwn() {
        return !cert.isEmpty();
    }

    /** Returns what trusts the service's certificate; throws TLS where the authorities cannot be read. */
    TrustManager[] trusted(Address at) {
        try {
            TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            KeyStore authorities = null; // Java's own
            if (!ca.isEmpty() && !ca.equals("system")) {
                authorities = KeyStore.getInstance(KeyStore.getDefaultType());
                authorities.load(null, null);
                for (X509Certificate each : certificates(ca)) {
                    authorities.setCertificateEntry("authority-" + authorities.size(), each);
                }
            }
            factory.init(authorities);
            return factory.getTrustManagers();
        } catch (IOException | GeneralSecurityException unreadable) {
            throw error(at, "invalid_files", "no certificate of an authority can be read (TRUNKLINE_TLS_CA): " + unreadable.getMessage())
                    .with("field", "ca")
                    .because(unreadable);
        }
    }

    /** Returns what shows the client's own certificate; none where it has none. */
    KeyManager[] shown(Address at) {
        if (cert.isEmpty() != key.isEmpty()) {
            throw error(at, "invalid_files", "a certificate and its key are given together (TRUNKLINE_TLS_CERT, TRUNKLINE_TLS_KEY)");
        }
        if (!hasOwn()) {
            return new KeyManager[0];
        }
        try {
            Own.read(this);
        } catch (IOException | GeneralSecurityException unreadable) {
            throw error(at, "invalid_files", "certificate and key cannot be taken: " + unreadable.getMessage()).because(unreadable);
        }
        return new KeyManager[] {new OwnCertificate(this)};
    }

    /** Returns what makes sockets with this trust. */
    SSLContext context(Address at) {
        return context(shown(at), trusted(at));
    }

    static SSLContext context(KeyManager[] shown, TrustManager[] trusted) {
        try {
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(shown, trusted, null);
            return context;
        } catch (GeneralSecurityException impossible) {
            throw new IllegalStateException("this Java has no TLS", impossible);
        }
    }

    /** Returns a TLS error with the word for programs that all clients have. */
    static TrunklineException error(Address at, String reason, String words) {
        return new TrunklineException(
                Reason.TLS, io.grpc.Status.Code.UNAVAILABLE, "no TLS with " + at.text() + ": " + words,
                Map.of("reason", reason, "address", at.text()));
    }

    private static byte[] pem(String fileOrText) throws IOException {
        return fileOrText.contains("-----BEGIN ") ? fileOrText.getBytes(StandardCharsets.UTF_8) : Files.readAllBytes(Path.of(fileOrText));
    }

    private static X509Certificate[] certificates(String fileOrText) throws IOException, GeneralSecurityException {
        X509Certificate[] read = CertificateFactory.getInstance("X.509").generateCertificates(new ByteArrayInputStream(pem(fileOrText))).stream()
                .map(X509Certificate.class::cast)
                .toArray(X509Certificate[]::new);
        if (read.length == 0) {
            throw new IOException("there is no certificate in it");
        }
        return read;
    }

    /** The client's own certificate and key as they are now. */
    private record Own(X509Certificate[] chain, PrivateKey key) {
        static Own read(Tls tls) throws IOException, GeneralSecurityException {
            return new Own(certificates(tls.cert), PrivateKeys.read(new String(pem(tls.key), StandardCharsets.UTF_8)));
        }
    }

    /** Shows the client's own certificate, read anew for each connection. */
    private static final class OwnCertificate extends X509ExtendedKeyManager {
        private static final System.Logger LOG = System.getLogger("trunkline");
        private static final String ALIAS = "own";
        private final Tls tls;
        private volatile Own own;

        OwnCertificate(Tls tls) {
            this.tls = tls;
        }

        private String choose() {
            try {
                own = Own.read(tls);
            } catch (IOException | GeneralSecurityException unreadable) {
                LOG.log(System.Logger.Level.ERROR, "certificate and key cannot be read any more", unreadable);
            }
            return own == null ? null : ALIAS;
        }

        @Override
        public String chooseClientAlias(String[] kinds, Principal[] issuers, Socket socket) {
            return choose();
        }

        @Override
        public String chooseEngineClientAlias(String[] kinds, Principal[] issuers, SSLEngine engine) {
            return choose();
        }

        @Override
        public X509Certificate[] getCertificateChain(String alias) {
            return own.chain();
        }

        @Override
        public PrivateKey getPrivateKey(String alias) {
            return own.key();
        }

        @Override
        public String[] getClientAliases(String kind, Principal[] issuers) {
            return new String[] {ALIAS};
        }

        @Override
        public String[] getServerAliases(String kind, Principal[] issuers) {
            return null; // a client serves nobody
        }

        @Override
        public String chooseServerAlias(String kind, Principal[] issuers, Socket socket) {
            return null;
        }
    }
}
