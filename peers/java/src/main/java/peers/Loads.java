package peers;

import java.util.concurrent.ExecutionException;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** What a client is kept busy with. */
final class Loads {
    /** How long a user waits before trying again what failed, in milliseconds. */
    static final long AGAIN = 100;

    /** A torrent's batches, each every 5 ms. */
    static final int BATCHES_A_SECOND = 200;

    private final Client client;
    private final Order order;
    private final Witness witness;
    final Tally tally;
    volatile boolean isStopped;

    Loads(Client client, Order order, Witness witness, Tally tally) {
        this.tally = tally;
        this.client = client;
        this.order = order;
        this.witness = witness;
    }

    static void pause(double milliseconds) {
        try {
            TimeUnit.NANOSECONDS.sleep((long) (milliseconds * 1e6));
        } catch (InterruptedException ended) {
            Thread.currentThread().interrupt();
        }
    }

    private void ended(long since, long limit, Client.Failure failure) {
        boolean isDue = tally.ended(since, limit, failure);
        heard("commands", failure);
        if (isDue) {
            witness.worked(since);
        }
    }

    /** Where the client does not tell of its connections, what fails and works on them does. */
    private void heard(String link, Client.Failure failure) {
        if (client.tellsOfConnections()) {
            return;
        }
        if (failure == null || failure.origin() == Client.Origin.SERVER) {
            witness.back(link);
        } else if (failure.origin() == Client.Origin.CONNECTION) {
            witness.lost(link, failure.cause());
        }
    }

    /** A caller of INCR, a call after the other. */
    void call() {
        long last = 0;
        while (!isStopped) {
            last = incr(Order.COUNTER, last);
            pauseBetweenCalls();
        }
    }

    /** Spread, so that the callers do not march in step. */
    private void pauseBetweenCalls() {
        pause(order.pause.milliseconds() * ThreadLocalRandom.current().nextDouble(0.5, 1.5));
    }

    /** A caller of INCR on many keys. */
    void spread() {
        while (!isStopped) {
            incr(Order.COUNTER + ":" + ThreadLocalRandom.current().nextInt(Order.SPREAD_KEYS), 0);
            pauseBetweenCalls();
        }
    }

    private long incr(String key, long last) {
        long since = tally.begin();
        try {
            long value = client.incr(key);
            // Each caller's own replies grow. A reply of somebody else's call sooner or later does not.
            if (value <= last) {
                tally.foreign();
            }
            ended(since, client.deadline(), null);
            return value;
        } catch (RuntimeException error) {
            ended(since, client.deadline(), client.failure(error));
            return last;
        }
    }

    /** A caller whose every call asks for something unique, and that does not wait for most of them. */
    void dropCalls(int caller) {
        for (long serial = 1; !isStopped; serial++) {
            String word = caller + ":" + serial;
            long since = tally.begin();
            var random = ThreadLocalRandom.current();
            var reply = client.echoLater(word);
            boolean isImpatient = random.nextInt(3) < 2;
            try {
                String got = isImpatient ? reply.get(random.nextLong(3_000), TimeUnit.MICROSECONDS) : reply.get();
                if (!word.equals(got)) {
                    tally.foreign();
                }
                ended(since, client.deadline(), null);
            } catch (TimeoutException left) {
                reply.cancel(true);
                tally.ended(since, client.deadline(), new Client.Failure(false, Client.Origin.CLIENT, ""));
            } catch (ExecutionException error) {
                ended(since, client.deadline(), client.failure(error.getCause()));
            } catch (InterruptedException end) {
                return;
            }
        }
    }

    /** A caller that reads the large value. */
    void fetch() {
        while (!isStopped) {
            long since = tally.begin();
            try {
                client.fetch();
                ended(since, 0, null);
            } catch (RuntimeException error) {
                ended(since, 0, client.failure(error));
            }
            pause(order.pause.milliseconds());
        }
    }

    /** Calls at a fixed rate, whatever becomes of those before. */
    void torrent() {
        int batch = order.rate / BATCHES_A_SECOND;
        long next = System.nanoTime();
        while (!isStopped) {
            next += 5_000_000;
            pause(Math.max(0, (next - System.nanoTime()) / 1e6));
            for (int call = 0; call < batch; call++) {
                long since = tally.begin();
                try {
                    client.incrLater().whenComplete((value, error) ->
                            ended(since, client.deadline(), error == null ? null : client.failure(error)));
                } catch (RuntimeException error) {
                    ended(since, client.deadline(), client.failure(error));
                }
            }
        }
        while (tally.read().open() > 0) {
            pause(10);
        }
    }

    /** BRPOP jobs 0, again and again. */
    void consume() {
        while (!isStopped) {
            try {
                String value = client.pop();
                heard("blocking", null);
                if (value == null) {
                    System.err.println("BRPOP jobs 0 answered nil");
                } else {
                    witness.tell("element", Long.parseLong(value));
                }
            } catch (NumberFormatException other) {
                witness.tell("trouble", "not an element: " + other.getMessage());
            } catch (RuntimeException error) {
                if (isStopped) {
                    return;
                }
                var failure = client.failure(error);
                heard("blocking", failure);
                if (!failure.isUnsent()) {
                    witness.broken("blocking", failure.cause());
                }
                System.err.println("the consumer: " + error);
                pause(AGAIN);
            }
        }
    }

    /** PING until one is answered, as a user would who wants to know whether it works. */
    void probe() {
        while (!isStopped) {
            long since = Order.now();
            try {
                client.ping();
                heard("commands", null);
                witness.worked(since);
                return;
            } catch (RuntimeException error) {
                heard("commands", client.failure(error));
                System.err.println("the probe: " + error);
                pause(AGAIN);
            }
        }
    }

    void tellTotals() {
        Tally.Calls before = null;
        while (!isStopped) {
            pause(100);
            var now = tally.read();
            if (!now.equals(before)) {
                witness.tell("calls", now);
                before = now;
            }
        }
    }
}
