package peers;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonPrimitive;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.BlockingQueue;

/** Where observations go. */
final class Witness {
    private final Gson gson = new Gson();
    private final BlockingQueue<JsonObject> lines;
    private final Set<String> down = new HashSet<>();
    private final Thread writer;

    Witness() {
        lines = new ArrayBlockingQueue<>(4_096);
        writer = new Thread(this::write, "witness");
        writer.start();
    }

    private Witness(Witness other) {
        lines = other.lines;
        writer = other.writer;
    }

    /** The same way out, for another client: its outages are its own. */
    Witness forAnother() {
        return new Witness(this);
    }

    /** Says something that needs no more words. */
    void tell(String what) {
        put(new JsonPrimitive(what));
    }

    void tell(String kind, Object what) {
        var inner = new JsonObject();
        inner.add(kind, gson.toJsonTree(what));
        put(inner);
    }

    void worked(long since) {
        tell("worked", Map.of("since", since));
    }

    /** A connection was lost, or something failed on it in a way that the user sees. Said once for each outage. */
    void lost(String link, String cause) {
        if (turn(link, true)) {
            tell("disconnected", Map.of("link", link, "cause", cause));
        }
    }

    /** A connection is there again, or something worked on it. Said once for each outage. */
    void back(String link) {
        if (turn(link, false)) {
            tell("activated", Map.of("link", link));
        }
    }

    /** A blocking call ended in an error, and may have been executed. */
    void broken(String link, String cause) {
        tell("broken", Map.of("link", link, "cause", cause));
    }

    void attempt(String link, Duration after) {
        tell("attempt", Map.of("link", link, "after", span(after)));
    }

    void failedAttempt(String link, String cause, Duration nextIn) {
        tell("reconnect_failed", Map.of("link", link, "cause", cause, "next_in", span(nextIn)));
    }

    /** Says the last word, and waits until it is written. */
    void finish() throws InterruptedException {
        tell("finished");
        writer.join();
    }

    private static Map<String, Long> span(Duration duration) {
        return Map.of("secs", duration.toSeconds(), "nanos", (long) duration.toNanosPart());
    }

    private synchronized boolean turn(String link, boolean isDown) {
        return isDown ? down.add(link) : down.remove(link);
    }

    private void put(JsonElement what) {
        var line = new JsonObject();
        line.addProperty("at", Order.now());
        line.add("what", what);
        try {
            lines.put(line);
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    private void write() {
        var finished = new JsonPrimitive("finished");
        try (var out = new PrintStream(new java.io.FileOutputStream(java.io.FileDescriptor.out), false,
                StandardCharsets.UTF_8)) {
            JsonObject line;
            do {
                line = lines.take();
                out.append(gson.toJson(line)).append('\n');
                if (lines.isEmpty()) {
                    out.flush();
                }
            } while (!finished.equals(line.get("what")));
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }
}
