package trunkline;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static trunkline.Programs.PATIENCE;
import static trunkline.Programs.refused;
import static trunkline.Programs.soon;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.KeyPairGenerator;
import java.security.PrivateKey;
import java.util.Arrays;
import java.util.Base64;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import trunkline.Programs.Program;
import trunkline.v1.BusServiceGrpc;
import trunkline.v1.GetStatsRequest;
import trunkline.v1.Message;

final class TlsTest {
    private static ConnectOptions options(Tls tls) {
        return new ConnectOptions().connectTimeout(PATIENCE).tls(tls);
    }

    private static String reason(String at, ConnectOptions options) {
        TrunklineException why = refused(() -> Bus.connect(at, options));
        assertTrue(why.is(Reason.TLS), why::toString);
        return why.details().get("reason");
    }

    @Test
    void whoeverShowsNoCertificateIsToldSoAtOnce(@TempDir Path folder) throws Exception {
        for (String authority : new String[] {"own", "other"}) {
            Programs.python(
                    "-c",
                    "from pathlib import Path; from trunkline.tls.certificates import write_certificates;"
                            + "write_certificates(Path('" + folder.resolve(authority) + "'), clients=['agent'])");
        }
        Path own = folder.resolve("own");
        Path other = folder.resolve("other");
        String ca = own.resolve("ca.pem").toString();
        try (Program program = Program.of(
                "bus", "--engine", "memory", "--tls-client-ca", ca,
                "--tls-cert", own.resolve("server.pem").toString(), "--tls-key", own.resolve("server.key").toString())) {
            String plain = program.address.replace("tls://", "");
            String at = "tls://" + plain;
            assertEquals("tls_required", reason(plain, new ConnectOptions().connectTimeout(PATIENCE)));
            assertEquals("tls_required", reason(plain, options(Tls.trusting(ca))));
            assertEquals("untrusted_authority", reason(at, options(Tls.trusting("system"))));
            assertEquals("wrong_name", reason(at, options(Tls.trusting(ca).named("bus.invalid"))));
            assertEquals("certificate_required", reason(at, options(Tls.trusting(ca))));
            Tls strange = Tls.trusting(ca).showing(other.resolve("agent.pem").toString(), other.resolve("agent.key").toString());
            assertEquals("certificate_refused", reason(at, options(strange)));
            assertEquals("invalid_files", reason(at, options(Tls.trusting(folder.resolve("none.pem").toString()))));
            assertEquals("invalid_files", reason(at, options(Tls.trusting(ca).showing(ca, ca))));
            Tls shown = Tls.trusting(Files.readString(Path.of(ca)))
                    .showing(own.resolve("agent.pem").toString(), own.resolve("agent.key").toString());
            try (Bus bus = soon(Bus.connect(at, options(shown)))) {
                bus.publish("a", Message.getDefaultInstance());
                soon(bus.flush());
            }
        }
    }

    @Test
    void aTokenIsAskedForAnewAndARefusalIsSaidAtOnce(@TempDir Path folder) throws Exception {
        String[] made = Programs.python("-m", "trunklined", "access", "token", "agent").strip().split("\\R");
        Path file = folder.resolve("tokens");
        Files.writeString(file, made[1] + "\n");
        Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rw-------"));
        try (Program program = Program.of("bus", "--engine", "memory", "--token-file", file.toString())) {
            ConnectOptions none = new ConnectOptions().connectTimeout(PATIENCE);
            assertEquals(Reason.UNAUTHENTICATED, refused(() -> Bus.connect(program.address, none)).reason());
            ConnectOptions wrong = new ConnectOptions().connectTimeout(PATIENCE).token(() -> "wrong");
            assertEquals(Reason.UNAUTHENTICATED, refused(() -> Bus.connect(program.address, wrong)).reason());
            ConnectOptions blank = new ConnectOptions().connectTimeout(PATIENCE).token(() -> "two words");
            assertEquals(Reason.UNAUTHENTICATED, refused(() -> Bus.connect(program.address, blank)).reason());
            AtomicInteger asked = new AtomicInteger();
            ConnectOptions right = new ConnectOptions().connectTimeout(PATIENCE).token(() -> {
                asked.incrementAndGet();
                return made[0] + "\n";
            });
            try (Bus bus = soon(Bus.connect(program.address, right))) {
                BusServiceGrpc.newBlockingStub(bus.channel()).getStats(GetStatsRequest.getDefaultInstance());
                assertEquals(2, asked.get());
            }
        }
    }

    private static String pem(String kind, byte[] encoded) {
        return "-----BEGIN " + kind + "-----\n" + Base64.getMimeEncoder().encodeToString(encoded) + "\n-----END " + kind + "-----\n";
    }

    @Test
    void keysAreReadAsOtherToolsWriteThem() throws Exception {
        KeyPairGenerator generator = KeyPairGenerator.getInstance("RSA");
        generator.initialize(2048);
        PrivateKey rsa = generator.generateKeyPair().getPrivate();
        assertEquals(rsa, PrivateKeys.read(pem("PRIVATE KEY", rsa.getEncoded())));
        byte[] bare = Arrays.copyOfRange(rsa.getEncoded(), 26, rsa.getEncoded().length); // behind the algorithm
        assertEquals(rsa, PrivateKeys.read(pem("RSA PRIVATE KEY", bare)));
        PrivateKey edwards = KeyPairGenerator.getInstance("Ed25519").generateKeyPair().getPrivate();
        assertEquals(edwards, PrivateKeys.read(pem("PRIVATE KEY", edwards.getEncoded())));
    }
}
