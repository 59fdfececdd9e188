package peers;

import com.google.gson.annotations.SerializedName;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** What a driver is to do. Fields that it does not know are skipped. */
final class Order {
    static final String JOBS = "jobs";
    static final String NEWS = "news";
    static final String COUNTER = "counter";
    /** Over how many keys the load "spread" is spread: counter:0, counter:1, … */
    static final int SPREAD_KEYS = 256;
    static final String BIG = "big";

    /** A duration as the lab writes it. */
    static final class Span {
        long secs;
        long nanos;

        double milliseconds() {
            return secs * 1e3 + nanos / 1e6;
        }
    }

    String url;
    String pace;
    int clients = 1;
    List<String> loads;
    int callers;
    Span pause;
    int rate;
    boolean consume;
    boolean shard;

    @SerializedName("password_file")
    String passwordFile;

    /** Whether the documented best configuration is wanted. */
    boolean isFast() {
        return "fast".equals(pace);
    }

    boolean has(String load) {
        return loads.contains(load);
    }

    /** The password that is in the file at this moment. */
    String passwordNow() {
        try {
            return Files.readString(Path.of(passwordFile)).trim();
        } catch (IOException unreadable) {
            // An empty password, which the server refuses: that is retried, too.
            return "";
        }
    }

    /** This moment: microseconds since 1970, by the clock that the lab's process reads, too. */
    static long now() {
        var now = java.time.Instant.now();
        return now.getEpochSecond() * 1_000_000 + now.getNano() / 1_000;
    }
}
