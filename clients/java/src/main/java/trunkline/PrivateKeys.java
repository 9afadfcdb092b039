package trunkline;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.spec.InvalidKeySpecException;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HexFormat;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Reads private keys as PEM. Java itself takes PKCS #8 alone; keys that say of what kind they are (PKCS #1 of RSA, SEC 1 of elliptic
 * curves), as other tools write them, are put into it.
 */
final class PrivateKeys {
    private static final Pattern PEM =
            Pattern.compile("-----BEGIN ((?:RSA |EC )?PRIVATE KEY)-----(.*?)-----END \\1-----", Pattern.DOTALL);
    private static final int SEQUENCE = 0x30;
    private static final int OCTETS = 0x04;
    private static final int PARAMETERS = 0xa0; // of SEC 1: which curve
    private static final byte[] VERSION = HexFormat.of().parseHex("020100");
    private static final byte[] RSA = HexFormat.of().parseHex("300d06092a864886f70d0101010500");
    private static final byte[] EC = HexFormat.of().parseHex("06072a8648ce3d0201");

    private PrivateKeys() {}

    static PrivateKey read(String pem) throws IOException, GeneralSecurityException {
        Matcher found = PEM.matcher(pem);
        if (!found.find()) {
            throw new IOException("there is no private key in it that is not encrypted");
        }
        byte[] encoded = Base64.getMimeDecoder().decode(found.group(2));
        return switch (found.group(1)) {
            case "RSA PRIVATE KEY" -> ofKind("RSA", wrapped(RSA, encoded));
            case "EC PRIVATE KEY" -> ofKind("EC", wrapped(der(SEQUENCE, joined(EC, curveOf(encoded))), encoded));
            default -> ofAnyKind(encoded);
        };
    }

    private static PrivateKey ofAnyKind(byte[] encoded) throws GeneralSecurityException {
        for (String kind : new String[] {"EC", "RSA"}) {
            try {
                return ofKind(kind, encoded);
            } catch (InvalidKeySpecException other) {
                continue; // it is of another kind
            }
        }
        return ofKind("EdDSA", encoded);
    }

    private static PrivateKey ofKind(String kind, byte[] encoded) throws GeneralSecurityException {
        return KeyFactory.getInstance(kind).generatePrivate(new PKCS8EncodedKeySpec(encoded));
    }

    private static byte[] wrapped(byte[] algorithm, byte[] key) {
        return der(SEQUENCE, joined(VERSION, algorithm, der(OCTETS, key)));
    }

    private static byte[] der(int tag, byte[] content) {
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        made.write(tag);
        if (content.length >= 0x100) {
            made.write(0x82); // two bytes of length follow: no key is longer
            made.write(content.length >> 8);
        } else if (content.length >= 0x80) {
            made.write(0x81);
        }
        made.write(content.length);
        made.writeBytes(content);
        return made.toByteArray();
    }

    private static byte[] joined(byte[]... parts) {
        ByteArrayOutputStream made = new ByteArrayOutputStream();
        for (byte[] each : parts) {
            made.writeBytes(each);
        }
        return made.toByteArray();
    }

    /** Returns the name of the curve of a key of SEC 1, as it is encoded. */
    private static byte[] curveOf(byte[] key) throws IOException {
        ByteBuffer fields = content(ByteBuffer.wrap(key));
        while (fields.remaining() > 2) {
            int tag = fields.get(fields.position()) & 0xff;
            ByteBuffer field = content(fields);
            if (tag == PARAMETERS) {
                byte[] curve = new byte[field.remaining()];
                field.get(curve);
                return curve;
            }
        }
        throw new IOException("the key does not say its curve");
    }

    /** Takes the next element, and returns what is in it. */
    private static ByteBuffer content(ByteBuffer elements) throws IOException {
        elements.get(); // its tag
        int length = elements.get() & 0xff;
        if (length > 0x80) {
            int bytes = length - 0x80;
            length = 0;
            for (; bytes > 0; bytes--) {
                length = (length << 8) | (elements.get() & 0xff);
            }
        }
        if (length < 0 || length > elements.remaining()) {
            throw new IOException("the key is cut off");
        }
        ByteBuffer content = elements.slice(elements.position(), length);
        elements.position(elements.position() + length);
        return content;
    }
}
