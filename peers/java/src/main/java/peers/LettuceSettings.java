package peers;

import io.lettuce.core.ClientOptions;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCredentials;
import io.lettuce.core.RedisCredentialsProvider;
import io.lettuce.core.RedisURI;
import io.lettuce.core.SocketOptions;
import io.lettuce.core.SocketOptions.KeepAliveOptions;
import io.lettuce.core.SocketOptions.TcpUserTimeoutOptions;
import io.lettuce.core.TimeoutOptions;
import io.lettuce.core.cluster.ClusterClientOptions;
import io.lettuce.core.cluster.ClusterTopologyRefreshOptions;
import io.lettuce.core.cluster.RedisClusterClient;
import io.lettuce.core.resource.ClientResources;
import io.lettuce.core.resource.DefaultClientResources;
import io.lettuce.core.resource.Delay;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.TimeUnit;

/** The two configurations of Lettuce. */
final class LettuceSettings {
    private final Order order;
    private final Target target;

    LettuceSettings(Order order, Target target) {
        this.order = order;
        this.target = target;
    }

    /** The time limit of a call. */
    Duration commandTimeout() {
        return order.isFast() ? Duration.ofSeconds(5) : RedisURI.DEFAULT_TIMEOUT_DURATION;
    }

    ClientResources resources() {
        if (!order.isFast()) {
            return DefaultClientResources.create();
        }
        // Reference, "Reconnect delay": exponential up to 30 s by default; issue 365 asks for jitter against a herd.
        return DefaultClientResources.builder()
                .reconnectDelay(Delay.equalJitter(100, 2_000, 100, TimeUnit.MILLISECONDS))
                .build();
    }

    RedisURI uri() {
        var first = target.hosts().get(0);
        RedisURI.Builder builder;
        if (target.kind() == Target.Kind.SENTINEL) {
            builder = RedisURI.Builder.sentinel(first.host(), first.port(), target.primary());
            target.hosts().stream().skip(1).forEach(each -> builder.withSentinel(each.host(), each.port()));
        } else {
            builder = RedisURI.Builder.redis(first.host(), first.port());
        }
        return finish(builder);
    }

    List<RedisURI> clusterUris() {
        return target.hosts().stream().map(each -> finish(RedisURI.Builder.redis(each.host(), each.port()))).toList();
    }

    private RedisURI finish(RedisURI.Builder builder) {
        if (order.passwordFile != null) {
            // Reference, "Authentication": a provider is asked for each connection.
            builder.withAuthentication(RedisCredentialsProvider.from(
                    () -> RedisCredentials.just(null, order.passwordNow())));
        } else if (target.password() != null) {
            if (target.user().isEmpty()) {
                builder.withPassword(target.password().toCharArray());
            } else {
                builder.withAuthentication(target.user(), target.password().toCharArray());
            }
        }
        if (order.isFast()) {
            // It also bounds the handshake (issue 2544): 60 s by default.
            builder.withTimeout(commandTimeout());
        }
        return builder.build();
    }

    void configure(RedisClient client, LettuceDriver.Use use) {
        if (order.isFast()) {
            client.setOptions(best(ClientOptions.builder(), use).build());
        }
    }

    void configure(RedisClusterClient client, LettuceDriver.Use use) {
        if (!order.isFast()) {
            return;
        }
        // Reference, "Refreshing the cluster topology view": both are off by default.
        var refresh = ClusterTopologyRefreshOptions.builder()
                .enablePeriodicRefresh(Duration.ofSeconds(5))
                .enableAllAdaptiveRefreshTriggers()
                .build();
        var options = ClusterClientOptions.builder();
        best(options, use);
        client.setOptions(options.topologyRefreshOptions(refresh).build());
    }

    private ClientOptions.Builder best(ClientOptions.Builder options, LettuceDriver.Use use) {
        options.socketOptions(socket());
        if (use == LettuceDriver.Use.COMMANDS || use == LettuceDriver.Use.SUBSCRIPTIONS) {
            // Reference, "Command timeouts": asynchronous calls have none by default.
            options.timeoutOptions(TimeoutOptions.enabled(commandTimeout()));
        }
        return options;
    }

    private static SocketOptions socket() {
        return SocketOptions.builder()
                .connectTimeout(Duration.ofSeconds(3))
                // SocketOptions.java and issue 1437: off by default. No source names values: these, and the user time-out,
                // are the kernel's part of romaine's Liveness::fast(), so that nobody is slower by a choice of the lab's.
                .keepAlive(KeepAliveOptions.builder()
                        .enable()
                        .idle(Duration.ofSeconds(1))
                        .interval(Duration.ofSeconds(1))
                        .count(1)
                        .build())
                // SocketOptions.java and issue 2082 (15 minutes until a vanished peer is noticed): off by default.
                .tcpUserTimeout(TcpUserTimeoutOptions.builder()
                        .enable()
                        .tcpUserTimeout(Duration.ofMillis(1_800))
                        .build())
                .build();
    }
}
