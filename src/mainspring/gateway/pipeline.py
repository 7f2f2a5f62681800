"""Who calls, and how often: what the gateway knows of a call before its operation does."""

from collections.abc import Awaitable, Coroutine, Sequence
from typing import Any

from mainspring.gateway.identify import (
    ANONYMOUS_IDENTITY,
    CachedIdentity,
    Identities,
)
from mainspring.gateway.limit import Limits, Refused, awaited
from mainspring.gateway.revocations import RevocationFeed
from mainspring.kernel.authority import Authenticator, StreamTokens
from mainspring.kernel.call import Call
from mainspring.kernel.caller import ADDRESS_ACCOUNT, Caller
from mainspring.kernel.clock import Clock
from mainspring.kernel.errors import AddressRefused, Failure, Unauthenticated
from mainspring.kernel.event import StagedEvent
from mainspring.kernel.policy import RateClass
from mainspring.runtime.events.catch_up import CatchUp
from mainspring.runtime.metrics.telemetry import Metrics


class Admission:
    """Who was let in: what an interface keeps of it.

    ``network`` is what a limit on its address counts; ``limit_lines`` are headers that tell the
    caller where its limit is.
    """

    __slots__ = ("_authorization", "_known", "caller", "limit_lines", "network")

    def __init__(
        self,
        known: CachedIdentity,
        authorization: bytes | None,
        network: str,
        limit_lines: bytes = b"",
    ) -> None:
        self._known = known
        self._authorization = authorization
        self.caller = known.caller  # as far as is known by now
        self.network = network
        self.limit_lines = limit_lines

    @property
    def credential(self) -> bytes | None:
        """What it came with; None for who is anonymous."""
        return self._authorization

    @property
    def until_ms(self) -> int | None:
        """When what it came with ends; None where it does not, or it came with nothing."""
        return self._known.expires_ms

    @property
    def account(self) -> str:
        """Whose share of what callers share this call takes: the caller's, or its address's."""
        return self.caller.id or ADDRESS_ACCOUNT + self.network


class Gateway:
    """One for the whole process; every interface lets its callers in through it.

    ``elsewhere`` hears of what other processes revoked, where they give word of it at once.
    """

    __slots__ = (
        "_clock", "_elsewhere", "_feeds", "_metrics", "_revoking", "_stream_tokens",
        "identities", "limits",
    )  # fmt: skip

    def __init__(
        self,
        authenticator: Authenticator,
        clock: Clock,
        metrics: Metrics,
        *,
        limits: Limits,
        silence_max_s: float | None = None,
        elsewhere: CatchUp | None = None,
        stream_tokens: StreamTokens | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._clock = clock
        self._metrics = metrics
        self._revoking = authenticator.revoking
        self.identities = Identities(authenticator, clock, silence_max_s=silence_max_s)
        self.limits = limits
        self._stream_tokens = stream_tokens
        self._feeds: list[RevocationFeed] = []

    async def redeem(self, stream_token: str, network: str) -> bytes:
        """Return what stands for the ``Authorization`` of a stream opened with a token.

        On the account of its address until it proves to be good: the owner of the users may have
        to be asked. Raises Unauthenticated or Refused.
        """
        if self._stream_tokens is None:
            raise Unauthenticated("this platform gives no stream tokens")
        try:
            told = await awaited(self.limits.anonymous.take(network))
        except Refused as refused:
            self._note(refused)
            raise
        try:
            opened = await self._stream_tokens.redeem(stream_token, self._clock.now_ms())
        except Unauthenticated as failure:
            _tell(failure, told)
            raise
        self.limits.anonymous.give_back(network)
        return b"Bearer " + opened.encode()

    def admit(
        self,
        authorization: bytes | None,
        network: str,
        rate: RateClass = RateClass.DEFAULT,
        *,
        address: str = "",
    ) -> Admission | Coroutine[Any, Any, Admission]:
        """Identify and limit. Raises Unauthenticated or Refused, either with its rate limits.

        Raises AddressRefused for a key that is not good from ``address``, or from one unknown.

        At once where the caller is known and its limit is counted here; else it has to be awaited.
        """
        known = ANONYMOUS_IDENTITY
        if authorization is not None:
            found = None
            if self._elsewhere is None or not self._elsewhere.behind:
                found = self.identities.recall(authorization, self._clock.now_ms())
            if found is None:
                return self._admit_unknown(authorization, network, rate, address)
            self._metrics.auth_hits.add()
            known = found
        try:
            told = self.limits.take(rate, known, network)
        except Refused as refused:
            self._note(refused)
            raise
        if known.places:
            _require_reach(known, address)
        if isinstance(told, bytes):
            return Admission(known, authorization, network, told)
        return self._admit_asking(known, authorization, network, told)

    async def _admit_unknown(
        self, authorization: bytes, network: str, rate: RateClass, address: str
    ) -> Admission:
        """Admit who is not known yet, or may have been revoked elsewhere just now."""
        if self._elsewhere is not None and self._elsewhere.behind:
            await self._elsewhere.hear()
        try:
            known = self.identities.recall(authorization, self._clock.now_ms())
            if known is None:
                known = await self._look_up(authorization, network, rate)
            else:
                self._metrics.auth_hits.add()
            told = await awaited(self.limits.take(rate, known, network))
        except Refused as refused:
            self._note(refused)
            raise
        if known.places:
            _require_reach(known, address)
        return Admission(known, authorization, network, told)

    async def _admit_asking(
        self,
        known: CachedIdentity,
        authorization: bytes | None,
        network: str,
        asking: Awaitable[bytes],
    ) -> Admission:
        try:
            return Admission(known, authorization, network, await asking)
        except Refused as refused:
            self._note(refused)
            raise

    def _note(self, refused: Refused) -> None:
        self._metrics.limited.of(refused.policy).add()
        _tell(refused, refused.limit_lines)

    async def _look_up(self, header: bytes, network: str, rate: RateClass) -> CachedIdentity:
        """Look a credential up, on the account of its address until it proves to be good.

        A log-in or a refresh often still carries the token it is about to replace; one that does
        not hold counts as none there.
        """
        self._metrics.auth_misses.add()
        told = await awaited(self.limits.anonymous.take(network))
        try:
            known = await self.identities.look_up(header, network)
        except Unauthenticated as failure:
            if rate is not RateClass.LOGIN:
                _tell(failure, told)
                raise
            known = ANONYMOUS_IDENTITY
        self.limits.anonymous.give_back(network)
        return known

    def is_sure(self, admission: Admission) -> bool:
        """Tell at once whether the caller of something that lasts is sure to be who it was."""
        if self._elsewhere is not None and self._elsewhere.behind:
            return False
        if admission._authorization is None:
            return True
        return self.identities.holds(admission._known, self._clock.now_ms())

    async def identify_again(self, admission: Admission) -> Caller | None:
        """Who the caller of something that lasts is by now; None when its credential is no good."""
        if self._elsewhere is not None and self._elsewhere.behind:
            await self._elsewhere.hear()
        if self.is_sure(admission):
            return admission._known.caller
        header, now_ms = admission._authorization, self._clock.now_ms()
        assert header is not None  # nobody is always sure to be nobody
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
            self.forget(subject)

    def tell(self, feed: RevocationFeed) -> None:
        """Tell gateways of other processes, from now on, of whatever is forgotten here."""
        self._feeds.append(feed)

    def forget(self, tag: str) -> None:
        """Forget the credentials with this tag."""
        self.identities.forget(tag)
        for feed in self._feeds:
            feed.forget(tag)

    def forget_all(self) -> None:
        """Forget every credential: revocations may have been missed."""
        self.identities.forget_all()
        for feed in self._feeds:
            feed.forget_all()

    def heard(self, until_s: float) -> None:
        """Note that every revocation was heard that was committed before a moment of the clock."""
        self.identities.heard(until_s)
        for feed in self._feeds:
            feed.heard(until_s)


def _require_reach(known: CachedIdentity, address: str) -> None:
    if not known.reaches(address):
        raise AddressRefused("this key, or one that it was made with, is good from elsewhere alone")


def _tell(failure: Failure, limit_lines: bytes) -> None:
    """Let a failure carry the headers that an answer would have had."""
    for line in limit_lines.decode().splitlines():
        name, _, told = line.partition(": ")
        failure.headers[name] = told
