"""Who calls, and how often: what the gateway knows of a call before its operation does."""

from collections.abc import Sequence

from mainspring.gateway.identify import (
    ANONYMOUS_IDENTITY,
    CachedIdentity,
    Identities,
)
from mainspring.gateway.limit import Headers, Limits, Refused
from mainspring.kernel.authority import Authenticator
from mainspring.kernel.call import Call
from mainspring.kernel.caller import ADDRESS_ACCOUNT, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import Failure, Unauthenticated
from mainspring.kernel.event import StagedEvent
from mainspring.kernel.policy import RateClass
from mainspring.runtime.events.catch_up import CatchUp
from mainspring.runtime.metrics.telemetry import Metrics


class Admission:
    """Who was let in: what an interface keeps of it.

    ``network`` is what a limit on its address counts; ``rate_limit_headers`` tell the caller where
    its limit is.
    """

    __slots__ = ("_authorization", "_known", "caller", "network", "rate_limit_headers")

    def __init__(
        self,
        known: CachedIdentity,
        authorization: bytes | None,
        network: str,
        rate_limit_headers: Headers = (),
    ) -> None:
        self._known = known
        self._authorization = authorization
        self.caller = known.caller  # as far as is known by now
        self.network = network
        self.rate_limit_headers = rate_limit_headers

    @property
    def account(self) -> str:
        """Whose share of what callers share this call takes: the caller's, or its address's."""
        return self.caller.id or ADDRESS_ACCOUNT + self.network


class Gateway:
    """One for the whole process; every interface lets its callers in through it.

    ``elsewhere`` hears of what other processes revoked, where they give word of it at once.
    """

    __slots__ = ("_clock", "_elsewhere", "_metrics", "_revoking", "identities", "limits")

    def __init__(
        self,
        authenticator: Authenticator,
        clock: Clock,
        metrics: Metrics,
        *,
        limits: Limits,
        silence_max_s: float | None = None,
        elsewhere: CatchUp | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._clock = clock
        self._metrics = metrics
        self._revoking = authenticator.revoking
        self.identities = Identities(authenticator, clock, silence_max_s=silence_max_s)
        self.limits = limits

    async def admit(
        self, authorization: bytes | None, network: str, rate: RateClass = RateClass.DEFAULT
    ) -> Admission:
        """Identify and limit. Raises Unauthenticated or Refused, either with its rate limits."""
        known = ANONYMOUS_IDENTITY
        try:
            if authorization is not None:
                if self._elsewhere is not None and self._elsewhere.behind:
                    await self._elsewhere.hear()
                found = self.identities.recall(authorization, self._clock.now_ms())
                if found is None:
                    known = await self._look_up(authorization, network, rate)
                else:
                    self._metrics.auth_hits.add()
                    known = found
            told = await self.limits.take(rate, known, network)
        except Refused as refused:
            self._metrics.limited.of(refused.policy).add()
            _tell(refused, refused.rate_limit_headers)
            raise
        return Admission(known, authorization, network, told)

    async def _look_up(self, header: bytes, network: str, rate: RateClass) -> CachedIdentity:
        """Look a credential up, on the account of its address until it proves to be good.

        A log-in or a refresh often still carries the token it is about to replace; one that does
        not hold counts as none there.
        """
        self._metrics.auth_misses.add()
        told = await self.limits.anonymous.take(network)
        try:
            known = await self.identities.look_up(header, network)
        except Unauthenticated as failure:
            if rate is not RateClass.LOGIN:
                _tell(failure, told)
                raise
            known = ANONYMOUS_IDENTITY
        self.limits.anonymous.give_back(network)
        return known

    async def identify_again(self, admission: Admission) -> Caller | None:
        """Who the caller of something that lasts is by now; None when its credential is no good."""
        if self._elsewhere is not None and self._elsewhere.behind:
            await self._elsewhere.hear()
        known, now_ms = admission._known, self._clock.now_ms()
        header = admission._authorization
        if header is None or self.identities.holds(known, now_ms):
            return known.caller
        try:
            found = self.identities.recall(header, now_ms)
            admission._known = found or await self.identities.look_up(header, admission.account)
        except Failure:
            return None
        admission.caller = admission._known.caller
        return admission.caller

    # Revocation

    def on_commit(self, _: Call, events: Sequence[StagedEvent]) -> None:
        """Hear what a call of this process has committed."""
        for event in events:
            self.revoke(event.type.name, event.subject)

    def revoke(self, event_type: str, subject: str) -> None:
        """Forget the credentials an event revokes; other events are ignored."""
        if event_type in self._revoking:
            self.identities.forget(subject)


def _tell(failure: Failure, rate_limit_headers: Headers) -> None:
    """Let a failure carry the headers that an answer would have had."""
    failure.headers.update((name.decode(), text.decode()) for name, text in rate_limit_headers)
