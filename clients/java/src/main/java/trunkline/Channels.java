package trunkline;

import java.util.regex.Pattern;

/** What a channel and a pattern are. */
final class Channels {
    static final int MAX_CHANNEL = 255;
    private static final Pattern TOKEN = Pattern.compile("[A-Za-z0-9_.-]+");

    private Channels() {}

    /** Throws INVALID_CHANNEL with what is wrong with a channel. */
    static void checkChannel(String channel) {
        check("channel", channel);
    }

    /** The same of a pattern, in which '*' stands for one token and a last '>' for one or more. */
    static void checkPattern(String pattern) {
        check("pattern", pattern);
    }

    private static void check(String kind, String channel) {
        String why = faultOf(channel, kind.equals("pattern"));
        if (why != null) {
            String shown = channel == null ? "null" : channel.substring(0, Math.min(channel.length(), MAX_CHANNEL));
            throw TrunklineException.invalid(Reason.INVALID_CHANNEL, kind, shown, kind + " \"" + shown + "\": " + why);
        }
    }

    private static String faultOf(String channel, boolean isPattern) {
        if (channel == null || channel.isEmpty()) {
            return "it is empty";
        }
        if (channel.length() > MAX_CHANNEL) {
            return "it has more than 255 characters";
        }
        String[] tokens = channel.split(":", -1);
        for (int at = 0; at < tokens.length; at++) {
            boolean isWildcard = tokens[at].equals("*") || (tokens[at].equals(">") && at == tokens.length - 1);
            if (!(isPattern && isWildcard) && !TOKEN.matcher(tokens[at]).matches()) {
                return "a token is letters, digits, '_', '.' and '-', and ':' stands between two";
            }
        }
        return null;
    }
}
