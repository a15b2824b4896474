"""Which of several servers of one model is asked next, by what each has shown so far.

    any                         the one expected to answer first: (requests under way + 1) x seconds of a request
    not known yet               a few requests, until it has answered one
    slow                        no request that the others, done with all the rest, would wait for
    no connection, or several   rests, a little longer each time; then it gets one request at a time until it answers
    faults in a row
    "leave me alone" (429)      rests for as long as it asks
    failed this very request    the others come first

Nothing is asked of a server only to see how it is: the requests themselves show it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

FAULTS_IN_A_ROW = 5
_PROBE_EVERY_S = 3.0
_AT_FIRST = 4  # requests at a server of which nothing is known yet
_NEWEST = 0.2  # the weight of the newest answer in the seconds of a request
_FORGET_S = 300.0  # in which half of a server's seconds is forgotten: one that was slow is tried again


@dataclass(eq=False)
class Server:
    """What is known of one server. Moments are those of time.monotonic().

    begun: when the requests under way were sent, the oldest first.
    seconds: what a request takes, smoothed; None until it is known.
    away_since: no connection since then. troubled_since: that, or faults in a row.
    """

    url: str
    begun: list[float] = field(default_factory=list)
    seconds: float | None = None
    seen_at: float = 0
    heard_at: float = 0
    faults: int = 0
    away_since: float | None = None
    troubled_since: float | None = None
    rests_until: float = 0

    def usable(self, now: float) -> bool:
        """Whether it may get a request."""
        return self.rests_until <= now and not (self.troubled_since is not None and self.begun)

    def expected(self, now: float, unknown: float) -> float:
        """Seconds of a request, and no less than the oldest under way waits since the last answer; `unknown` where
        nothing is known."""
        seconds = unknown if self.seconds is None else self.seconds * 0.5 ** ((now - self.seen_at) / _FORGET_S)
        return max(seconds, now - max(self.begun[0], self.seen_at)) if self.begun else seconds

    def heard(self) -> None:
        """It talks, whatever it says."""
        self.heard_at, self.away_since = time.monotonic(), None

    def answered(self, seconds: float) -> None:
        """It answered a request."""
        self.faults, self.troubled_since = 0, None
        self.seconds = seconds if self.seconds is None else self.seconds + _NEWEST * (seconds - self.seconds)
        self.seen_at = time.monotonic()

    def late(self, seconds: float) -> None:
        """It left a request without an answer for this time; where it answered others meanwhile, it is not slow."""
        now = time.monotonic()
        if self.seen_at < now - seconds:
            self.seconds, self.seen_at = max(seconds, self.seconds or 0), now

    def failed(self, backoff_s: float, wait_s: float) -> None:
        """It failed a request, and asks to be left alone for `wait_s`, or 0."""
        now = time.monotonic()
        self.faults += 1
        self.rests_until = max(self.rests_until, now + wait_s)
        # Faults come at once and answers later: what is under way may yet be answered.
        if self.faults >= FAULTS_IN_A_ROW + len(self.begun):
            self._rest(now, backoff_s)

    def unreachable(self, backoff_s: float) -> None:
        """There was no connection."""
        now = time.monotonic()
        self.away_since = self.away_since or now
        self._rest(now, backoff_s)

    def _rest(self, now: float, backoff_s: float) -> None:
        # With jitter: many may be waiting for the same server.
        self.troubled_since = self.troubled_since or now
        bound = min(_PROBE_EVERY_S, max(backoff_s, now - self.troubled_since))
        self.rests_until = max(self.rests_until, now + random.uniform(bound / 2, bound))


async def choose(servers: Sequence[Server], failed_at: Collection[Server], waves: float) -> Server:
    """The server for a request, once there is one.

    failed_at: servers that failed it. waves: requests not yet sent, as a multiple of those that may be under way.
    """
    while True:
        now = time.monotonic()
        # Where all rest that can be reached, they are asked all the same: the requests wait, each for itself.
        usable = [each for each in servers if each.usable(now)] or [each for each in servers if each.away_since is None]
        if len(servers) > 1:
            usable = [each for each in usable if each.seconds is not None or len(each.begun) < _AT_FIRST]
        if usable:
            known = [each.seconds for each in usable if each.seconds is not None]
            expected = {each: each.expected(now, min(known, default=1.0)) for each in usable}
            # By when the fastest will surely be at work; servers that differ by less than twice count as alike.
            soon = min(expected.values()) * max(2, waves)
            in_time = [each for each in usable if expected[each] <= soon]
            fresh = [each for each in in_time if each not in failed_at]
            return min(fresh or in_time, key=lambda each: (len(each.begun) + 1) * expected[each])
        await asyncio.sleep(0.05)
