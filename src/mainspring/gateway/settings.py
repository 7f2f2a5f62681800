"""The settings of the gateway: ``[limits]``."""

from typing import Annotated

import msgspec

from mainspring.kernel.policy import Rate


class LimitSettings(msgspec.Struct, frozen=True):
    """``[limits]``: how often a caller, an address, and a log-in may call, as ``N/s|m|h``.

    ``own`` are the rate classes that services declare.
    """

    default: str = "20000/s"
    anonymous: str = "200/s"
    login: str = "30/m"
    own: dict[str, str] = msgspec.field(default_factory=dict)
    keys_max: Annotated[int, msgspec.Meta(ge=1_024, le=1 << 24)] = 65_536

    def __post_init__(self) -> None:
        for rate in (self.default, self.anonymous, self.login, *self.own.values()):
            Rate.parse(rate)
