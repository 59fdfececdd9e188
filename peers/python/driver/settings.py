"""The two configurations of redis-py."""

import socket

import redis.asyncio as redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff
from redis.credentials import CredentialProvider

from .protocol import Order, Target


class PasswordFile(CredentialProvider):
    """The documented way to a password that changes: asked for each connection."""

    def __init__(self, order: Order) -> None:
        self._order = order

    def get_credentials(self) -> tuple[str]:
        return (self._order.password_now(),)


# The time limit of GET big, in both configurations: its reply comes slowly, and its caller knows.
FETCH_LIMIT = 600


def client(order: Order, target: Target, link: str) -> redis.Redis | redis.RedisCluster:
    settings: dict[str, object] = {"decode_responses": True}
    if order.password_file:
        settings["credential_provider"] = PasswordFile(order)
    else:
        settings.update(username=target.user, password=target.password)
    if order.is_fast:
        settings.update(_best(link))
        if link == "subscriptions" and target.scheme == "redis-sentinel":
            # With health checks a subscriber that has lost its connection writes its PING first, and for that connects to the
            # address that it had (asyncio/connection.py, send_packed_command), again and again; without, it asks the
            # Sentinels (asyncio/sentinel.py, SentinelManagedConnection.connect). The kernel's keepalive is left.
            settings["health_check_interval"] = 0
    if link == "fetch":
        # Connection documentation, socket_timeout: of a client's replies, there is none of one call.
        settings["socket_timeout"] = FETCH_LIMIT
    host, port = target.hosts[0]
    match target.scheme:
        case "redis-cluster":
            nodes = [ClusterNode(host, port) for host, port in target.hosts]
            return redis.RedisCluster(startup_nodes=nodes, **settings)
        case "redis-sentinel":
            return Sentinel(target.hosts).master_for(target.primary, **settings)
        case _:
            return redis.Redis(host=host, port=port, **settings)


def _best(link: str) -> dict[str, object]:
    return {
        # redis-py documentation, "Production usage": time-outs, retries and health checks are to be set. The defaults are
        # 5 s, 10 retries, no health check (redis/_defaults.py). The limit holds for BRPOP too (issue 2807), so theirs has
        # to be none.
        "socket_timeout": None if link == "blocking" else 2,
        "socket_connect_timeout": 3,
        "retry": Retry(ExponentialWithJitterBackoff(base=0.1, cap=1), 3),
        "health_check_interval": 1,
        # Connection documentation: 30 s, 5 s and 3 by default. TCP_USER_TIMEOUT goes the same way (tcp(7)). No source names
        # values: these are the kernel's part of romaine's Liveness::fast(), so that nobody is slower by a choice of the lab's.
        "socket_keepalive": True,
        "socket_keepalive_options": {
            socket.TCP_KEEPIDLE: 1,
            socket.TCP_KEEPINTVL: 1,
            socket.TCP_KEEPCNT: 1,
            socket.TCP_USER_TIMEOUT: 1_800,
        },
    }
