package peers;

import io.lettuce.core.AbstractRedisClient;
import io.lettuce.core.RedisChannelHandler;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisConnectionStateListener;
import io.lettuce.core.api.StatefulConnection;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.cluster.api.StatefulRedisClusterConnection;
import io.lettuce.core.cluster.api.async.RedisClusterAsyncCommands;
import io.lettuce.core.cluster.api.sync.RedisClusterCommands;
import io.lettuce.core.event.connection.ConnectionActivatedEvent;
import io.lettuce.core.event.connection.ReconnectAttemptEvent;
import io.lettuce.core.event.connection.ReconnectFailedEvent;
import io.lettuce.core.pubsub.RedisPubSubAdapter;
import io.lettuce.core.pubsub.StatefulRedisPubSubConnection;
import io.lettuce.core.resource.ClientResources;
import java.time.Duration;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Future;

/**
 * Lettuce under test. One connection for ordinary commands, one for the consumer, one for the subscriber, as its
 * documentation asks for what blocks or subscribes. Each is of a client of its own, because the event bus does not say which
 * connection of a client an event is about.
 */
final class LettuceDriver implements Client {
    private static ClientResources shared;

    private final Order order;
    private final Target target;
    private final Witness witness;
    private final LettuceSettings settings;
    private final RedisClusterCommands<String, String> sync;
    private final RedisClusterAsyncCommands<String, String> async;
    private RedisClusterCommands<String, String> blocking;

    static Client connect(Order order, Target target, Witness witness) {
        return new LettuceDriver(order, target, witness);
    }

    private LettuceDriver(Order order, Target target, Witness witness) {
        this.order = order;
        this.target = target;
        this.witness = witness;
        settings = new LettuceSettings(order, target);
        var commands = open("commands");
        sync = syncOf(commands);
        async = asyncOf(commands);
        if (order.has("blocked")) {
            var connection = open("blocking");
            if (order.isFast()) {
                // The documentation on blocking commands: the time limit holds for them too; zero is none.
                connection.setTimeout(Duration.ZERO);
            }
            blocking = syncOf(connection);
        }
    }

    private StatefulConnection<String, String> open(String link) {
        var client = client(link);
        return client instanceof RedisClusterClient cluster ? cluster.connect() : ((RedisClient) client).connect();
    }

    private AbstractRedisClient client(String link) {
        var resources = resources(link);
        if (target.kind() == Target.Kind.CLUSTER) {
            var client = RedisClusterClient.create(resources, settings.clusterUris());
            settings.configure(client, link);
            client.addListener(new Losses(link));
            return client;
        }
        var client = RedisClient.create(resources, settings.uri());
        settings.configure(client, link);
        client.addListener(new Losses(link));
        return client;
    }

    /**
     * Tells of lost connections. A DisconnectedEvent would come, too, for each connection that the client itself closes after
     * asking Sentinels or a cluster's nodes, and would not tell them apart.
     */
    private final class Losses implements RedisConnectionStateListener {
        private final String link;

        Losses(String link) {
            this.link = link;
        }

        @Override
        public void onRedisDisconnected(RedisChannelHandler<?, ?> connection) {
            if (!connection.isClosed()) {
                witness.lost(link, "onRedisDisconnected");
            }
        }
    }

    /** Many clients share one set of threads, as the documentation asks for; then the events of all are the first's. */
    private ClientResources resources(String link) {
        if (order.clients > 1 && shared != null) {
            return shared;
        }
        var resources = settings.resources();
        resources.eventBus().get().subscribe(event -> tell(link, event));
        shared = resources;
        return resources;
    }

    private void tell(String link, io.lettuce.core.event.Event event) {
        if (event instanceof ConnectionActivatedEvent) {
            witness.back(link);
        } else if (event instanceof ReconnectAttemptEvent attempt) {
            witness.attempt(link, attempt.getDelay());
        } else if (event instanceof ReconnectFailedEvent failed) {
            // The delay before the next attempt comes with that attempt.
            witness.failedAttempt(link, String.valueOf(failed.getCause()), Duration.ZERO);
        }
    }

    private static RedisClusterCommands<String, String> syncOf(StatefulConnection<String, String> connection) {
        return connection instanceof StatefulRedisClusterConnection<String, String> cluster
                ? cluster.sync()
                : ((StatefulRedisConnection<String, String>) connection).sync();
    }

    private static RedisClusterAsyncCommands<String, String> asyncOf(StatefulConnection<String, String> connection) {
        return connection instanceof StatefulRedisClusterConnection<String, String> cluster
                ? cluster.async()
                : ((StatefulRedisConnection<String, String>) connection).async();
    }

    @Override
    public boolean tellsOfConnections() {
        return true;
    }

    @Override
    public long deadline() {
        return settings.commandTimeout().toMillis();
    }

    @Override
    public long incr(String key) {
        return sync.incr(key);
    }

    @Override
    public CompletionStage<Long> incrLater() {
        return async.incr(Order.COUNTER);
    }

    @Override
    public Future<String> echoLater(String word) {
        return async.echo(word);
    }

    @Override
    public void ping() {
        sync.ping();
    }

    @Override
    public void fetch() {
        sync.get(Order.BIG);
    }

    @Override
    public String pop() {
        var reply = blocking.brpop(0, Order.JOBS);
        return reply == null ? null : reply.getValue();
    }

    @Override
    public void subscribe(Reader reader) {
        var client = client("subscriptions");
        StatefulRedisPubSubConnection<String, String> connection = client instanceof RedisClusterClient cluster
                ? cluster.connectPubSub()
                : ((RedisClient) client).connectPubSub();
        connection.addListener(new RedisPubSubAdapter<String, String>() {
            @Override
            public void message(String channel, String message) {
                reader.message(message);
            }

            @Override
            public void smessage(String channel, String message) {
                reader.message(message);
            }
        });
        if (order.shard) {
            connection.sync().ssubscribe(Order.NEWS);
        } else {
            connection.sync().subscribe(Order.NEWS);
        }
    }

    /** What was in flight is sent again after a reconnect, so that the last error does not tell what was executed. */
    @Override
    public Failure failure(Throwable error) {
        var cause = error instanceof java.util.concurrent.CompletionException ? error.getCause() : error;
        var origin = cause instanceof RedisCommandExecutionException ? Origin.SERVER : Origin.CONNECTION;
        return new Failure(false, origin, String.valueOf(cause));
    }
}
