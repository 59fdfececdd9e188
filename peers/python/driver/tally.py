"""Counts what becomes of calls."""

from .protocol import now

# A working call is told at most so often, in microseconds.
WORKED_EVERY = 5_000


class Tally:
    def __init__(self) -> None:
        self.begun = self.acked = self.refused = self.unknown = 0
        self.late = self.foreign = self.never_returned = self.slowest_ms = 0
        self._told = 0

    def read(self) -> dict[str, int]:
        """The totals so far."""
        return {
            "acked": self.acked,
            "refused": self.refused,
            "unknown": self.unknown,
            "open": self.begun - self.acked - self.refused - self.unknown,
            "late": self.late,
            "foreign": self.foreign,
            "never_returned": self.never_returned,
            "slowest_ms": self.slowest_ms,
        }

    def give_up(self) -> None:
        """Those that have not ended yet never will."""
        self.never_returned = self.read()["open"]

    def begin(self) -> int:
        self.begun += 1
        return now()

    def failed(self, since: int) -> None:
        """Counts a call that ended with an error: the client sends a call up to eleven times, so that its last error does
        not tell whether one of them was executed."""
        self._measure(since)
        self.unknown += 1

    def worked(self, since: int) -> bool:
        """Counts an answered call; true when it is time to tell that calls work."""
        self._measure(since)
        self.acked += 1
        moment = now()
        is_due = moment - self._told >= WORKED_EVERY
        if is_due:
            self._told = moment
        return is_due

    def _measure(self, since: int) -> None:
        # There is no time limit of a call, only of a read, so that none is late.
        self.slowest_ms = max(self.slowest_ms, (now() - since) // 1_000)
