package peers;

import io.lettuce.core.AbstractRedisClient;
import io.lettuce.core.ReadFrom;
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
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.event.connection.ConnectionActivatedEvent;
import io.lettuce.core.event.connection.ReconnectAttemptEvent;
import io.lettuce.core.event.connection.ReconnectFailedEvent;
import io.lettuce.core.masterreplica.MasterReplica;
import io.lettuce.core.pubsub.RedisPubSubAdapter;
import io.lettuce.core.pubsub.StatefulRedisPubSubConnection;
import io.lettuce.core.resource.ClientResources;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.time.Duration;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Future;

/**
 * Lettuce under test. One connection for ordinary commands, one for the consumer, one for the subscriber, as its
 * documentation asks for what blocks or subscribes. Each is of a client of its own, because the event bus does not say which
 * connection of a client an event is about.
 */
final class LettuceDriver implements Client {
    /** What a connection is for. */
    enum Use {
        COMMANDS("commands"),
        BLOCKING("blocking"),
        SUBSCRIPTIONS("subscriptions"),
        /** One call that may take long. */
        FETCH("commands");

        final String link;

        Use(String link) {
            this.link = link;
        }
    }

    private static ClientResources shared;

    private final Order order;
    private final Target target;
    private final Witness witness;
    private final LettuceSettings settings;
    private final RedisClusterCommands<String, String> sync;
    private final RedisClusterAsyncCommands<String, String> async;
    private RedisClusterCommands<String, String> blocking;
    private RedisClusterCommands<String, String> fetching;

    static Client connect(Order order, Target target, Witness witness) {
        return new LettuceDriver(order, target, witness);
    }

    private LettuceDriver(Order order, Target target, Witness witness) {
        this.order = order;
        this.target = target;
        this.witness = witness;
        settings = new LettuceSettings(order, target);
        var commands = open(Use.COMMANDS);
        sync = syncOf(commands);
        async = asyncOf(commands);
        if (order.has("blocked")) {
            var connection = open(Use.BLOCKING);
            if (order.isFast()) {
                // The documentation on blocking commands: the time limit holds for them too; zero is none.
                connection.setTimeout(Duration.ZERO);
            }
            blocking = syncOf(connection);
        }
        if (order.has("fetch")) {
            // The documentation on command timeouts: the limit of a synchronous call is its connection's.
            var connection = open(Use.FETCH);
            connection.setTimeout(FETCH_LIMIT);
            fetching = syncOf(connection);
        }
    }

    private StatefulConnection<String, String> open(Use use) {
        var client = client(use);
        if (client instanceof RedisClusterClient cluster) {
            return cluster.connect();
        }
        if (order.isFast() && target.kind() == Target.Kind.SENTINEL) {
            // Reference, "Master/Replica with Redis Sentinel": this connection subscribes to the Sentinels' events and follows
            // a failover by them; RedisClient.connect asks the Sentinels only when its own connection has ended.
            var connection = MasterReplica.connect((RedisClient) client, StringCodec.UTF8, settings.uri());
            connection.setReadFrom(ReadFrom.UPSTREAM);
            return connection;
        }
        return ((RedisClient) client).connect();
    }

    private AbstractRedisClient client(Use use) {
        var resources = resources(use.link);
        if (target.kind() == Target.Kind.CLUSTER) {
            var client = RedisClusterClient.create(resources, settings.clusterUris());
            settings.configure(client, use);
            client.addListener(new Losses(use));
            return client;
        }
        var client = RedisClient.create(resources, settings.uri());
        settings.configure(client, use);
        client.addListener(new Losses(use));
        return client;
    }

    /**
     * Tells of lost connections. A DisconnectedEvent would come, too, for each connection that the client itself closes after
     * asking Sentinels or a cluster's nodes, and would not tell them apart.
     */
    private final class Losses implements RedisConnectionStateListener {
        private final Use use;

        Losses(Use use) {
            this.use = use;
        }

        @Override
        public void onRedisDisconnected(RedisChannelHandler<?, ?> connection) {
            // What subscribes without being the subscriber listens to a Sentinel.
            boolean isOfSentinel = use != Use.SUBSCRIPTIONS && connection instanceof StatefulRedisPubSubConnection;
            if (!connection.isClosed() && !isOfSentinel) {
                witness.lost(use.link, "onRedisDisconnected");
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
        if (event instanceof ConnectionActivatedEvent activated) {
            if (!isOfSentinel(activated.remoteAddress())) {
                witness.back(link);
            }
        } else if (event instanceof ReconnectAttemptEvent attempt) {
            witness.attempt(link, attempt.getDelay());
        } else if (event instanceof ReconnectFailedEvent failed) {
            // The delay before the next attempt comes with that attempt.
            witness.failedAttempt(link, String.valueOf(failed.getCause()), Duration.ZERO);
        }
    }

    private boolean isOfSentinel(SocketAddress address) {
        return target.kind() == Target.Kind.SENTINEL
                && address instanceof InetSocketAddress internet
                && target.hosts().stream().anyMatch(each -> each.port() == internet.getPort());
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
        fetching.get(Order.BIG);
    }

    @Override
    public String pop() {
        var reply = blocking.brpop(0, Order.JOBS);
        return reply == null ? null : reply.getValue();
    }

    @Override
    public void subscribe(Reader reader) {
        var client = client(Use.SUBSCRIPTIONS);
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

            @Override
            public void sunsubscribed(String channel, long count) {
                // The server's word that the channel's slot has moved, and no loss of the connection. A listener must not
                // wait.
                var again = new Thread(() -> subscribeAgain(connection), "subscribe again");
                again.setDaemon(true);
                again.start();
            }
        });
        if (order.shard) {
            connection.sync().ssubscribe(Order.NEWS);
        } else {
            connection.sync().subscribe(Order.NEWS);
        }
    }

    private static void subscribeAgain(StatefulRedisPubSubConnection<String, String> connection) {
        while (true) {
            try {
                connection.sync().ssubscribe(Order.NEWS);
                return;
            } catch (RuntimeException error) {
                System.err.println("the subscriber: " + error);
                Loads.pause(Loads.AGAIN);
            }
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
