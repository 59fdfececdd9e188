// The two configurations of ioredis, and what it says of its connections.
import { Redis } from "ioredis";

import { passwordNow, span } from "./protocol.js";

// The time limit of a call in the best configuration, in milliseconds.
export const CALL_TIMEOUT = 5_000;

export function connect(order, target, link, witness) {
  const options = { username: target.username, password: target.password, lazyConnect: true };
  if (order.password_file) {
    options.password = passwordNow(order);
  }
  if (order.pace === "fast") {
    Object.assign(options, best(link));
  }
  const client = open(order, target, options);
  tellEvents(client, link, witness);
  if (order.password_file) {
    // There is no provider of passwords; the options are read for each connection.
    client.on("connecting", () => (client.options.password = passwordNow(order)));
  }
  return client;
}

function open(order, target, options) {
  const isFast = order.pace === "fast";
  switch (target.scheme) {
    case "redis-cluster": {
      const cluster = { redisOptions: options, lazyConnect: true };
      if (order.shard) {
        // ClusterOptions: without it SSUBSCRIBE is not sent to the node of its slot.
        cluster.shardedSubscribers = true;
      }
      if (isFast) {
        // ClusterOptions: both off by default; issue 2096.
        cluster.slotsRefreshInterval = 5_000;
        cluster.clusterNodeRetryStrategy = retry;
      }
      return new Redis.Cluster(target.hosts, cluster);
    }
    case "redis-sentinel": {
      const sentinel = { sentinels: target.hosts, name: target.primary };
      if (isFast) {
        // README, "Sentinel": off by default; without it a failover is noticed only when the old connection ends.
        sentinel.failoverDetector = true;
      }
      return new Redis({ ...options, ...sentinel });
    }
    default:
      return new Redis({ ...options, ...target.hosts[0] });
  }
}

function retry(times) {
  return Math.min(times * 100, 2_000);
}

function best(link) {
  const options = {
    connectTimeout: 3_000,
    // RedisOptions: the idle time before the first probe, 30 s by default. Interval and count cannot be set, nor
    // TCP_USER_TIMEOUT.
    keepAlive: 5_000,
    retryStrategy: retry,
  };
  if (link === "commands") {
    // RedisOptions: both off by default. socketTimeout closes a connection on which nothing has arrived for so long since
    // a command was written; it would close one that waits in BRPOP 0, too (issue 1318).
    options.commandTimeout = CALL_TIMEOUT;
    options.socketTimeout = CALL_TIMEOUT;
  }
  return options;
}

function tellEvents(client, link, witness) {
  let cause = "close";
  let delay = 0;
  client.on("error", (error) => {
    cause = String(error.message || error);
    console.error(`${link}: ${cause}`);
  });
  client.on("node error", (error, address) => {
    cause = `${address}: ${error.message}`;
    console.error(`${link}: ${cause}`);
  });
  let isEstablished = false;
  const lost = () => {
    if (isEstablished) {
      witness.lost(link, cause);
    }
    cause = "close";
  };
  client.on("close", lost);
  client.on("-node", lost);
  client.on("reconnecting", (milliseconds) => {
    if (witness.isDown(link) && delay > 0) {
      witness.tell({ reconnect_failed: { link, cause: "close", next_in: span(milliseconds ?? 0) } });
    }
    delay = milliseconds ?? 0;
  });
  client.on("connecting", () => {
    if (isEstablished) {
      witness.tell({ attempt: { link, after: span(delay) } });
    }
  });
  client.on("ready", () => {
    isEstablished = true;
    delay = 0;
    witness.back(link);
  });
}
