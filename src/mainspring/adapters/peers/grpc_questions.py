"""Questions between processes that are no calls: tokens, proofs, descriptions. Both ends."""

from abc import abstractmethod

from mainspring.adapters.peers.grpc_wire import (
    DescribeAsked,
    ProveAsked,
    Question,
    QuestionAnswer,
    RedeemAsked,
)
from mainspring.kernel.errors import NotServedHere
from mainspring.ports.peers import Described, DescribeFor, Owned

USERS_OWNER = "the owner of the users"


class AsksOwners:
    """The asker's end of each question."""

    @abstractmethod
    async def _question(self, question: Question, what: str) -> QuestionAnswer:
        """Ask an owner. Raises whatever it said, and Unavailable."""

    async def redeem(self, token: str, now_ms: int) -> str:
        """Return what a stream lives by that is opened with a token."""
        return (await self._question(RedeemAsked(token, now_ms), USERS_OWNER)).text

    async def prove(self, nonce: str, url: str) -> str:
        """Have an owner show that it has the keyring."""
        return (await self._question(ProveAsked(nonce, url), USERS_OWNER)).text

    async def describe(self, asked: DescribeFor) -> Described:
        """Return the shapes of a service, where they are not known."""
        answer = await self._question(DescribeAsked(asked), f"the service {asked.service}")
        assert answer.described is not None
        return answer.described


async def answered(owned: Owned, question: Question) -> QuestionAnswer:
    """Answer a question. Raises NotServedHere, and what whoever knows raises."""
    if isinstance(question, RedeemAsked) and owned.stream_tokens is not None:
        return QuestionAnswer(await owned.stream_tokens.redeem(question.token, question.now_ms))
    if isinstance(question, ProveAsked) and owned.proves is not None:
        return QuestionAnswer(await owned.proves.prove(question.nonce, question.url))
    if isinstance(question, DescribeAsked) and owned.describes is not None:
        return QuestionAnswer(described=await owned.describes.describe(question.asked))
    raise NotServedHere("this process does not own what was asked for")
