package peers;

import com.google.gson.annotations.SerializedName;
import java.util.concurrent.atomic.AtomicLong;

/** Counts what becomes of calls. */
final class Tally {
    /** A working call is told at most so often, in microseconds. */
    private static final long WORKED_EVERY = 5_000;

    record Calls(long acked, long refused, long unknown, long open, long late, long foreign,
            @SerializedName("never_returned") long neverReturned, @SerializedName("slowest_ms") long slowestMs) {}

    private final AtomicLong begun = new AtomicLong();
    private final AtomicLong acked = new AtomicLong();
    private final AtomicLong refused = new AtomicLong();
    private final AtomicLong unknown = new AtomicLong();
    private final AtomicLong late = new AtomicLong();
    private final AtomicLong foreign = new AtomicLong();
    private final AtomicLong neverReturned = new AtomicLong();
    private final AtomicLong slowestMs = new AtomicLong();
    private final AtomicLong told = new AtomicLong();

    Calls read() {
        // The ended ones first, so that none is counted as open that has begun after.
        long ackedNow = acked.get();
        long refusedNow = refused.get();
        long unknownNow = unknown.get();
        long open = Math.max(0, begun.get() - ackedNow - refusedNow - unknownNow);
        return new Calls(ackedNow, refusedNow, unknownNow, open, late.get(), foreign.get(), neverReturned.get(),
                slowestMs.get());
    }

    /** Those that have not ended yet never will. */
    void giveUp() {
        neverReturned.set(read().open());
    }

    long begin() {
        begun.incrementAndGet();
        return Order.now();
    }

    void foreign() {
        foreign.incrementAndGet();
    }

    /** Counts an ended call; true when it is time to tell that calls work. A limit of zero is none. */
    boolean ended(long since, long limitMs, Client.Failure failure) {
        long now = Order.now();
        long tookMs = (now - since) / 1_000;
        slowestMs.accumulateAndGet(tookMs, Math::max);
        if (limitMs > 0 && tookMs > limitMs + 1_000) {
            late.incrementAndGet();
        }
        if (failure != null) {
            (failure.isUnsent() ? refused : unknown).incrementAndGet();
            return false;
        }
        acked.incrementAndGet();
        long before = told.get();
        return now - before >= WORKED_EVERY && told.compareAndSet(before, now);
    }
}
