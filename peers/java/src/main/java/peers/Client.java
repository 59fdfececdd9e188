package peers;

import java.time.Duration;
import java.util.concurrent.CompletionStage;

/** A client under test. What fails throws. */
interface Client {
    /**
     * The time limit of {@link #fetch}, in both configurations: its reply comes slowly, and its caller knows. Where a client
     * has no limit of one call, the call has a connection of its own with this one.
     */
    Duration FETCH_LIMIT = Duration.ofSeconds(600);

    /** Makes a client with the connections that the order's loads need. */
    interface Connector {
        Client connect(Order order, Target target, Witness witness) throws Exception;
    }

    /** Whose words an error is. */
    enum Origin {
        /** The server answered. */
        SERVER,
        /** The connection failed, or did not come about. */
        CONNECTION,
        /** The client itself, before any connection: its pool was empty for too long. */
        CLIENT
    }

    /** What is known of a failed call. */
    record Failure(boolean isUnsent, Origin origin, String cause) {}

    /**
     * Whether the client says by itself when it loses a connection. If not, a call that fails without an answer is what its
     * user sees of that.
     */
    boolean tellsOfConnections();

    /** How long a call may take at most, by the configuration, in milliseconds; zero where nothing limits it. */
    long deadline();

    long incr(String key);

    /** {@code INCR counter} without waiting; null where the client has only calls that wait. */
    CompletionStage<Long> incrLater();

    /** {@code ECHO word} that can be cancelled; null where the client has only calls that wait. */
    java.util.concurrent.Future<String> echoLater(String word);

    void ping();

    /** {@code GET big}, with the limit {@link #FETCH_LIMIT}. */
    void fetch();

    /** {@code BRPOP jobs 0}; null when that is the answer. */
    String pop();

    /** Subscribes to news, and returns once the server has confirmed. What arrives goes to the reader. */
    void subscribe(Reader reader) throws Exception;

    Failure failure(Throwable error);
}
