"""What the client is kept busy with."""

import asyncio
import random
import sys

from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError, ResponseError

from . import settings
from .protocol import BIG, COUNTER, JOBS, NEWS, SPREAD_KEYS, Order, Target, Witness, now
from .tally import Tally

# How long a user waits before trying again what failed.
AGAIN = 0.1

# The time between two batches of a torrent.
TICK = 0.005

# What a call may end with: the library's own errors, and what comes through from the socket.
FAILURES = (RedisError, OSError, asyncio.TimeoutError)


def _complain(who: str, error: BaseException) -> None:
    print(f"{who}: {error!r}", file=sys.stderr)


class Loads:
    """One client for ordinary commands, one for the consumer, one for the subscriber, one for the call that may take long."""

    def __init__(self, order: Order, target: Target, witness: Witness, tally: Tally) -> None:
        self._order = order
        self._witness = witness
        self._commands = settings.client(order, target, "commands")
        self._blocking = settings.client(order, target, "blocking")
        self._subscriber = settings.client(order, target, "subscriptions")
        self._fetching = settings.client(order, target, "fetch")
        self._pubsub = None
        # Whether the next confirmation is that of a subscription that was asked for here.
        self._is_ours = False
        self._is_sharded = order.shard and target.scheme == "redis-cluster"
        self.tally = tally
        self.is_stopped = False
        self.reading = asyncio.Event()

    async def connect(self) -> None:
        # The client dials when it is first asked: an order without a server is refused here.
        await self._commands.ping()

    def _heard(self, link: str, error: BaseException | None = None) -> None:
        """The client tells nothing of its connections: what fails and works on them does."""
        if error is None or (isinstance(error, ResponseError) and not isinstance(error, LostConnection)):
            self._witness.back(link)
        else:
            self._witness.lost(link, error)

    async def _count(self, call) -> object | None:
        """Waits for a call and counts it; None if it failed."""
        since = self.tally.begin()
        try:
            reply = await call
        except FAILURES as error:
            self.tally.failed(since)
            self._heard("commands", error)
            return None
        is_due = self.tally.worked(since)
        self._heard("commands")
        if is_due:
            self._witness.tell({"worked": {"since": since}})
        return reply

    async def call(self) -> None:
        """One caller of INCR, a call after the other."""
        last = 0
        while not self.is_stopped:
            value = await self._count(self._commands.incr(COUNTER))
            if value is not None:
                # Each caller's own replies grow. A reply of somebody else's call sooner or later does not.
                self.tally.foreign += value <= last
                last = value
            # Spread, so that the callers do not march in step.
            await asyncio.sleep(self._order.pause * random.uniform(0.5, 1.5))

    async def spread(self) -> None:
        """One caller of INCR on many keys."""
        while not self.is_stopped:
            await self._count(self._commands.incr(f"{COUNTER}:{random.randrange(SPREAD_KEYS)}"))
            await asyncio.sleep(self._order.pause * random.uniform(0.5, 1.5))

    async def drop_calls(self, caller: int) -> None:
        """One caller whose every call asks for something unique, and that does not wait for most of them."""
        serial = 0
        while not self.is_stopped:
            serial += 1
            word = f"{caller}:{serial}"
            if random.randrange(3) == 2:
                reply = await self._count(self._commands.echo(word))
            else:
                reply = await self._echo_impatiently(word)
            self.tally.foreign += reply is not None and reply != word
            await asyncio.sleep(0)

    async def _echo_impatiently(self, word: str) -> object | None:
        since = self.tally.begin()
        try:
            reply = await asyncio.wait_for(self._commands.echo(word), random.uniform(0, 0.003))
        except FAILURES:
            self.tally.failed(since)
            return None
        self.tally.worked(since)
        return reply

    async def fetch(self) -> None:
        """One caller that reads the large value."""
        while not self.is_stopped:
            await self._count(self._fetching.get(BIG))
            await asyncio.sleep(self._order.pause)

    async def torrent(self) -> None:
        """Calls at a fixed rate, whatever becomes of those before."""
        loop = asyncio.get_running_loop()
        calls: set[asyncio.Task] = set()
        due = loop.time()
        while not self.is_stopped:
            for _ in range(self._order.rate // 200):
                task = asyncio.ensure_future(self._count(self._commands.incr(COUNTER)))
                calls.add(task)
                task.add_done_callback(calls.discard)
            due += TICK
            await asyncio.sleep(max(0, due - loop.time()))
        if calls:
            await asyncio.wait(calls)

    async def consume(self) -> None:
        """BRPOP jobs 0, again and again."""
        while True:
            try:
                reply = await self._blocking.brpop(JOBS, 0)
            except FAILURES as error:
                self._heard("blocking", error)
                _complain("the consumer", error)
                # The client sends again by itself, so that the last error does not tell whether it was executed.
                self._witness.tell({"broken": {"link": "blocking", "cause": str(error) or repr(error)}})
                await asyncio.sleep(AGAIN)
                continue
            self._heard("blocking")
            if reply is None:
                print("BRPOP jobs 0 answered nil", file=sys.stderr)
            else:
                self._witness.tell({"element": int(reply[1])})

    async def subscribe(self) -> None:
        """Subscribes, and returns once the server has confirmed."""
        # A cluster's client learns of its nodes when it is first asked, and a subscription does not ask.
        await self._subscriber.ping()
        self._pubsub = self._subscriber.pubsub()
        if self._order.shard:
            await self._pubsub.ssubscribe(NEWS)
        else:
            await self._pubsub.subscribe(NEWS)
        while await self._next(5) is None:
            pass

    async def _next(self, timeout: float) -> dict | None:
        if self._is_sharded:
            # The cluster's subscriber has other methods for shard channels, and no listen().
            return await self._pubsub.get_sharded_message(timeout=timeout)
        return await self._pubsub.get_message(timeout=timeout)

    async def listen(self) -> None:
        """Reads what is published, from when it is told to."""
        await self.reading.wait()
        while True:
            try:
                if self._order.is_fast or self._is_sharded:
                    # Documentation on health checks: with each call of get_message a PING may be written.
                    await self._take(await self._next(1))
                    continue
                async for message in self._pubsub.listen():
                    await self._take(message)
            except FAILURES as error:
                self._heard("subscriptions", error)
                _complain("the subscriber", error)
            await asyncio.sleep(AGAIN)

    async def _take(self, message: dict | None) -> None:
        match message:
            case {"type": "message" | "smessage", "data": str(text)}:
                self._witness.back("subscriptions")
                # What comes after the number is ballast.
                self._witness.tell({"message": int(text.split(" ", 1)[0])})
            case {"type": "subscribe" | "ssubscribe"}:
                if self._is_ours:
                    self._is_ours = False
                else:
                    self._witness.lost("subscriptions", "it had been lost: subscribed again")
                self._witness.back("subscriptions")
            case {"type": "sunsubscribe"}:
                # The server's word that the channel's slot has moved, and no loss of the connection. A call with the channel
                # as its key has the client learn where that is now.
                await self._subscriber.exists(NEWS)
                self._is_ours = True
                await self._pubsub.ssubscribe(NEWS)

    async def probe(self) -> None:
        """PING until one is answered, as a user would who wants to know whether it works."""
        while not self.is_stopped:
            since = now()
            try:
                await self._commands.ping()
            except FAILURES as error:
                self._heard("commands", error)
                _complain("the probe", error)
                await asyncio.sleep(AGAIN)
                continue
            self._heard("commands")
            self._witness.tell({"worked": {"since": since}})
            return

    async def tell_totals(self) -> None:
        before = None
        while True:
            await asyncio.sleep(0.1)
            totals = self.tally.read()
            if totals != before:
                self._witness.tell({"calls": totals})
                before = totals
