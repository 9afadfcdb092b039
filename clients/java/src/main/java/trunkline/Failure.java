package trunkline;

/**
 * What a handler of requests throws where who asked shall get a code, and whether the same may be asked again with hope. Anything
 * else that it throws fails a request with its class and its text.
 */
public final class Failure extends RuntimeException {
    private static final long serialVersionUID = 1;

    private final String code;
    private final boolean isRetryable;

    /**
     * Makes a failure.
     *
     * @param code for programs, such as "MODEL_OVERLOADED"
     * @param text for people
     * @param isRetryable whether the same may be asked again with hope
     */
    public Failure(String code, String text, boolean isRetryable) {
        super(text);
        this.code = code == null ? "" : code;
        this.isRetryable = isRetryable;
    }

    /** Returns the word for programs. */
    public String code() {
        return code;
    }

    /** Tells whether the same may be asked again with hope. */
    public boolean isRetryable() {
        return isRetryable;
    }
}
