// The two configurations of ioredis, and what it says of its connections.
import { Redis } from "ioredis";

import { passwordNow, span } from "./protocol.js";

// The time limit of a call in the best configuration, in milliseconds.
export const CALL_TIMEOUT = 5_000;

// The time limit of GET big, in both configurations: its reply comes slowly, and its caller knows.
export const FETCH_TIMEOUT = 600_000;

// `use`: commands, blocking, subscriptions, or fetch for one call that may take long.
export function connect(order, target, use, witness) {
  const link = use === "fetch" ? "commands" : use;
  const options = { username: target.username, password: target.password, lazyConnect: true };
  if (order.password_file) {
    options.password = passwordNow(order);
  }
  if (order.pace === "fast") {
    Object.assign(options, best(use));
  }
  if (use === "fetch") {
    // RedisOptions.commandTimeout: of a client's calls, there is none of one call.
    options.commandTimeout = FETCH_TIMEOUT;
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

function best(use) {
  const options = {
    connectTimeout: 3_000,
    // RedisOptions: the idle time before the first probe, 30 s by default. No source names a value: this is the idle time of
    // romaine's Liveness::fast(). Interval and count cannot be set, nor TCP_USER_TIMEOUT.
    keepAlive: 1_000,
    retryStrategy: retry,
    // README, "Reconnect on Error": the example is this one. 2 sends the refused command again, which has not been executed.
    reconnectOnError: (error) => (error.message.includes("READONLY") ? 2 : false),
    // README, "Blocking Command Timeout": blockingTimeout is not used. For BRPOP 0 it resolves the promise with null, and
    // leaves the connection and the command on it as they are (Command.js, setBlockingTimeout): a vanished peer is not given
    // up, the next BRPOP waits behind the first, and of a server that is well the first takes an element that nobody is given.
  };
  if (use === "commands") {
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
  client.on("end", lost);
  // Of a cluster: its nodes', and that its subscribers for shard channels are connected.
  client.on("-node", lost);
  client.on("+node", (node) => {
    node?.on("close", lost);
    node?.on("ready", () => witness.back(link));
  });
  client.on("subscribersReady", () => witness.back(link));
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
