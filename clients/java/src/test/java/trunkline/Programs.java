package trunkline;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;

/** Real services in processes of their own, and what tests wait for. */
final class Programs {
    /** How long tests wait for what must happen: only a test that fails waits for so long. */
    static final Duration PATIENCE = Duration.ofSeconds(60);

    private Programs() {}

    /** The interpreter that has the services: TRUNKLINE_PYTHON, or the checkout's own. */
    private static String interpreter() {
        String named = System.getenv("TRUNKLINE_PYTHON");
        if (named != null) {
            return named;
        }
        Path own = Path.of("..", "..", ".venv", "bin", "python").toAbsolutePath();
        if (!Files.exists(own)) {
            throw new IllegalStateException("no Python with the services: run make install, or set TRUNKLINE_PYTHON");
        }
        return own.toString();
    }

    /** A bus or a state service, which ends with the test. */
    static final class Program implements AutoCloseable {
        private final List<String> command;
        private Process process;
        String address;

        Program(String name, String address, String... options) throws Exception {
            this.address = address;
            command = new ArrayList<>(List.of(interpreter(), "-m", "trunklined", name, "--log-format", "json", "--end-with-stdin"));
            command.addAll(List.of(options));
            start();
        }

        /** Starts one on a free port. */
        static Program of(String name, String... options) throws Exception {
            return new Program(name, "127.0.0.1:0", options);
        }

        /** Returns when it serves. Started again, it serves at the same address. */
        void start() throws Exception {
            List<String> whole = new ArrayList<>(command);
            whole.addAll(List.of("--address", address));
            process = new ProcessBuilder(whole).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
            Process reading = process;
            CompletableFuture<String> ready = new CompletableFuture<>();
            Threads.POOL.execute(() -> read(reading, ready));
            address = soon(ready);
        }

        private static void read(Process process, CompletableFuture<String> ready) {
            try (BufferedReader lines =
                    new BufferedReader(new InputStreamReader(process.getErrorStream(), StandardCharsets.UTF_8))) {
                for (String line; (line = lines.readLine()) != null; ) {
                    JsonObject said = said(line);
                    if (said.has("event") && said.get("event").getAsString().equals("ready")) {
                        ready.complete(said.get("address").getAsString());
                    }
                }
                ready.completeExceptionally(new IllegalStateException("it ended before it served"));
            } catch (IOException ended) {
                ready.completeExceptionally(ended);
            }
        }

        private static JsonObject said(String line) {
            try {
                return JsonParser.parseString(line).getAsJsonObject();
            } catch (JsonParseException | IllegalStateException other) {
                return new JsonObject(); // not the log's
            }
        }

        /** Ends it with SIGKILL. */
        void kill() {
            process.destroyForcibly().onExit().join();
        }

        @Override
        public void close() {
            kill();
        }
    }

    /** Runs Python, and returns what it writes; it must succeed. */
    static String python(String... arguments) throws Exception {
        List<String> command = new ArrayList<>(List.of(interpreter()));
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String wrote = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, process.waitFor());
        return wrote;
    }

    static <T> T soon(CompletableFuture<T> future) throws Exception {
        try {
            return future.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
        } catch (ExecutionException failed) {
            throw failed.getCause() instanceof Exception why ? why : failed;
        }
    }

    static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
        T came = queue.poll(PATIENCE.toSeconds(), TimeUnit.SECONDS);
        if (came == null) {
            throw new AssertionError("nothing came");
        }
        return came;
    }

    static void until(Callable<Boolean> isSo) throws Exception {
        long end = System.nanoTime() + PATIENCE.toNanos();
        while (!isSo.call()) {
            if (System.nanoTime() > end) {
                throw new AssertionError("it never was so");
            }
            Thread.sleep(5);
        }
    }

    /** Returns what something fails with. */
    static TrunklineException refused(Callable<?> failing) {
        try {
            Object came = failing.call() instanceof CompletableFuture<?> future ? soon(future) : null;
            throw new AssertionError("it did not fail: " + came);
        } catch (TrunklineException why) {
            return why;
        } catch (Exception other) {
            throw new AssertionError("it failed otherwise", other);
        }
    }

    static Bus connectBus(String at) throws Exception {
        return soon(Bus.connect(at, new ConnectOptions().connectTimeout(PATIENCE).callTimeout(PATIENCE)));
    }

    static State connectState(String at) throws Exception {
        return soon(State.connect(at, new ConnectOptions().connectTimeout(PATIENCE).callTimeout(PATIENCE)));
    }
}
