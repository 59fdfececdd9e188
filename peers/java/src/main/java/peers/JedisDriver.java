package peers;

import java.io.IOException;
import java.net.Socket;
import java.time.Duration;
import java.util.NoSuchElementException;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Future;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import jdk.net.ExtendedSocketOptions;
import redis.clients.jedis.ConnectionFactory;
import redis.clients.jedis.ConnectionPoolConfig;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.DefaultJedisSocketFactory;
import redis.clients.jedis.DefaultRedisCredentials;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.JedisPubSub;
import redis.clients.jedis.JedisShardedPubSub;
import redis.clients.jedis.JedisSocketFactory;
import redis.clients.jedis.RedisClient;
import redis.clients.jedis.RedisClusterClient;
import redis.clients.jedis.RedisSentinelClient;
import redis.clients.jedis.UnifiedJedis;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.providers.PooledConnectionProvider;

/** Jedis under test: one pooled client, whose calls wait. It says nothing of its connections. */
final class JedisDriver implements Client {
    private final Order order;
    private final Target target;
    private final UnifiedJedis jedis;
    /**
     * Calls that are not waited for run here, as its users would have it; the threads come with the first call. There is room
     * for a batch of the torrent, which comes at once; what does not fit is refused at once, as by any bounded pool.
     */
    private final ExecutorService threads;

    static Client connect(Order order, Target target, Witness witness) {
        var driver = new JedisDriver(order, target);
        // The pool is filled when it is first asked: an order without a server is refused here.
        driver.ping();
        return driver;
    }

    private JedisDriver(Order order, Target target) {
        this.order = order;
        this.target = target;
        jedis = open();
        int callers = Math.max(1, order.callers);
        var room = new ArrayBlockingQueue<Runnable>(Math.max(1, order.rate / Loads.BATCHES_A_SECOND));
        threads = new ThreadPoolExecutor(callers, callers, 1, TimeUnit.MINUTES, room);
    }

    private UnifiedJedis open() {
        var nodes = target.hosts().stream()
                .map(each -> new HostAndPort(each.host(), each.port()))
                .collect(Collectors.toSet());
        return switch (target.kind()) {
            case STANDALONE -> {
                var builder = RedisClient.builder();
                var server = nodes.iterator().next();
                builder.hostAndPort(server).clientConfig(config());
                if (order.isFast()) {
                    var factory = ConnectionFactory.builder()
                            .clientConfig(config())
                            .hostAndPort(server)
                            .socketFactory(watchful(server))
                            .build();
                    builder.connectionProvider(new PooledConnectionProvider(factory, bestPool()));
                }
                yield builder.build();
            }
            case SENTINEL -> {
                var builder = RedisSentinelClient.builder();
                builder.masterName(target.primary()).sentinels(nodes).clientConfig(config());
                if (order.isFast()) {
                    builder.poolConfig(bestPool());
                }
                yield builder.build();
            }
            case CLUSTER -> {
                var builder = RedisClusterClient.builder();
                builder.nodes(nodes).clientConfig(config());
                if (order.isFast()) {
                    // ClusterClientBuilder: not refreshed periodically by default.
                    builder.topologyRefreshPeriod(Duration.ofSeconds(5));
                    builder.poolConfig(bestPool());
                }
                yield builder.build();
            }
        };
    }

    private DefaultJedisClientConfig config() {
        var config = DefaultJedisClientConfig.builder();
        if (order.passwordFile != null) {
            // DefaultJedisClientConfig: a provider is asked for each connection.
            config.credentialsProvider(() -> new DefaultRedisCredentials(null, order.passwordNow()));
        } else if (target.password() != null) {
            config.user(target.user().isEmpty() ? null : target.user()).password(target.password());
        }
        // Time-outs stay at the default of 2 s in both configurations: there is nothing quicker that is documented. A limit for
        // blocking reads (blockingSocketTimeoutMillis, none by default) would end a BRPOP 0 that merely waits.
        return config.build();
    }

    /**
     * Keepalive is on by default with the system's two hours, and nothing sets others (issue 2614); a socket factory of its
     * user's can (pull request 2151). That has a place for a single server only, not with Sentinels or in a cluster, whose
     * pools are the client's own. No source names values: these are the kernel's part of romaine's Liveness::fast(). The JDK
     * has no TCP_USER_TIMEOUT (jdk.net.ExtendedSocketOptions); what is sent has the read's limit.
     */
    private JedisSocketFactory watchful(HostAndPort server) {
        return new DefaultJedisSocketFactory(server, config()) {
            @Override
            public Socket createSocket() {
                var socket = super.createSocket();
                try {
                    socket.setOption(ExtendedSocketOptions.TCP_KEEPIDLE, 1);
                    socket.setOption(ExtendedSocketOptions.TCP_KEEPINTERVAL, 1);
                    socket.setOption(ExtendedSocketOptions.TCP_KEEPCOUNT, 1);
                } catch (IOException closed) {
                    throw new JedisConnectionException("the socket cannot be set", closed);
                }
                return socket;
            }
        };
    }

    /** Wiki, "Getting started" and issue 1275: connections are examined by PING before use, and every second while idle. */
    private static ConnectionPoolConfig bestPool() {
        var pool = new ConnectionPoolConfig();
        pool.setTestOnBorrow(true);
        pool.setTestWhileIdle(true);
        pool.setTimeBetweenEvictionRuns(Duration.ofSeconds(1));
        pool.setMaxWait(Duration.ofSeconds(5));
        return pool;
    }

    @Override
    public boolean tellsOfConnections() {
        return false;
    }

    /** There is a limit of each read, but none of a call, which may wait for the pool. */
    @Override
    public long deadline() {
        return 0;
    }

    @Override
    public long incr(String key) {
        return jedis.incr(key);
    }

    @Override
    public CompletionStage<Long> incrLater() {
        return CompletableFuture.supplyAsync(() -> incr(Order.COUNTER), threads);
    }

    @Override
    public Future<String> echoLater(String word) {
        return null;
    }

    @Override
    public void ping() {
        jedis.ping();
    }

    @Override
    public void fetch() {
        // No limit to lift: the 2 s of socketTimeoutMillis are those of each read, and a reply that comes slowly comes.
        jedis.get(Order.BIG);
    }

    @Override
    public String pop() {
        var reply = jedis.brpop(0, Order.JOBS);
        return reply == null ? null : reply.get(1);
    }

    @Override
    public void subscribe(Reader reader) throws InterruptedException {
        if (order.shard && target.kind() != Target.Kind.CLUSTER) {
            throw new UnsupportedOperationException("not supported: shard channels of what is not a cluster");
        }
        var confirmed = new CountDownLatch(1);
        var listening = new Thread(() -> listen(reader, confirmed), "subscriber");
        listening.setDaemon(true);
        listening.start();
        confirmed.await();
    }

    /** The call holds its thread until it fails; then its user subscribes again. */
    private void listen(Reader reader, CountDownLatch confirmed) {
        while (true) {
            try {
                if (order.shard) {
                    shardSubscribe(reader, confirmed);
                } else {
                    jedis.subscribe(subscriber(reader, confirmed), Order.NEWS);
                }
            } catch (RuntimeException error) {
                reader.witness.lost("subscriptions", String.valueOf(error));
                System.err.println("the subscriber: " + error);
            }
            Loads.pause(Loads.AGAIN);
        }
    }

    private static JedisPubSub subscriber(Reader reader, CountDownLatch confirmed) {
        return new JedisPubSub() {
            @Override
            public void onMessage(String channel, String message) {
                reader.message(message);
            }

            @Override
            public void onSubscribe(String channel, int count) {
                confirmed.countDown();
                reader.witness.back("subscriptions");
            }
        };
    }

    private void shardSubscribe(Reader reader, CountDownLatch confirmed) {
        ((RedisClusterClient) jedis).ssubscribe(new JedisShardedPubSub() {
            @Override
            public void onSMessage(String channel, String message) {
                reader.message(message);
            }

            @Override
            public void onSSubscribe(String channel, int count) {
                confirmed.countDown();
                reader.witness.back("subscriptions");
            }
        }, Order.NEWS);
    }

    /** A call to one server is sent once; the cluster's client sends again, so that its last error does not tell. */
    @Override
    public Failure failure(Throwable thrown) {
        var error = thrown instanceof CompletionException ? thrown.getCause() : thrown;
        if (error instanceof RejectedExecutionException) {
            return new Failure(true, Origin.CLIENT, String.valueOf(error));
        }
        boolean isOneTry = target.kind() != Target.Kind.CLUSTER;
        var origin = origin(error);
        return new Failure(origin != Origin.CONNECTION && isOneTry, origin, String.valueOf(error));
    }

    private static Origin origin(Throwable error) {
        if (error instanceof JedisDataException) {
            return Origin.SERVER;
        }
        // Pool.getResource: commons-pool says so when all connections are in use for longer than the pool waits.
        return error.getCause() instanceof NoSuchElementException ? Origin.CLIENT : Origin.CONNECTION;
    }
}
