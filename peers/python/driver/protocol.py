"""The lines that the fault lab and a driver exchange."""

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

JOBS = "jobs"
NEWS = "news"
COUNTER = "counter"
BIG = "big"

# Over how many keys the load "spread" is spread: counter:0, counter:1, …
SPREAD_KEYS = 256


def now() -> int:
    """This moment: microseconds since 1970, by the clock that the lab's process reads, too."""
    return time.time_ns() // 1_000


@dataclass(frozen=True)
class Order:
    """What a driver is to do."""

    url: str
    pace: str
    clients: int
    loads: list[str]
    callers: int
    pause: float
    rate: int
    consume: bool
    shard: bool
    password_file: str | None

    @classmethod
    def read(cls, line: str) -> "Order":
        """Reads an order. Fields that this driver does not know are skipped."""
        fields = json.loads(line)
        pause = fields["pause"]
        return cls(
            url=fields["url"],
            pace=fields["pace"],
            clients=fields.get("clients", 1),
            loads=fields["loads"],
            callers=fields["callers"],
            pause=pause["secs"] + pause["nanos"] / 1e9,
            rate=fields["rate"],
            consume=fields["consume"],
            shard=fields["shard"],
            password_file=fields.get("password_file"),
        )

    @property
    def is_fast(self) -> bool:
        """Whether the documented best configuration is wanted."""
        return self.pace == "fast"

    def password_now(self) -> str:
        """The password that is in the file at this moment."""
        try:
            return Path(self.password_file).read_text().strip()
        except OSError:
            # An empty password, which the server refuses: that is retried, too.
            return ""


@dataclass(frozen=True)
class Target:
    """Where an order's URL leads: redis://, redis-sentinel://…/name or redis-cluster://, perhaps with user:password@."""

    scheme: str
    hosts: list[tuple[str, int]]
    primary: str
    user: str | None
    password: str | None

    @classmethod
    def parse(cls, url: str) -> "Target":
        scheme, _, rest = url.partition("://")
        if scheme not in ("redis", "redis-sentinel", "redis-cluster"):
            raise ValueError(f"the URL is not understood: {scheme}://…")
        who, at, rest = rest.rpartition("@")
        user, colon, password = who.partition(":")
        if at and not colon:
            user, password = "", who
        hosts, _, primary = rest.partition("/")
        pairs = [each.rsplit(":", 1) for each in hosts.split(",")]
        return cls(scheme, [(host, int(port)) for host, port in pairs], primary, user or None, password or None)


class Witness:
    """Where observations go."""

    def __init__(self) -> None:
        self._down: set[str] = set()
        self._is_flush_due = False

    def for_another(self) -> "Witness":
        """The same way out, for another client: its outages are its own."""
        return Witness()

    def tell(self, what: object) -> None:
        sys.stdout.write(json.dumps({"at": now(), "what": what}) + "\n")
        if not self._is_flush_due:
            self._is_flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flush_due = False
        sys.stdout.flush()

    def lost(self, link: str, cause: object) -> None:
        """A connection was lost, or something failed on it in a way that the user sees. Said once for each outage."""
        if link not in self._down:
            self._down.add(link)
            self.tell({"disconnected": {"link": link, "cause": str(cause) or repr(cause)}})

    def back(self, link: str) -> None:
        """A connection is there again, or something worked on it. Said once for each outage."""
        if link in self._down:
            self._down.remove(link)
            self.tell({"activated": {"link": link}})
