"""App: the services of one product and the ASGI apps mounted beside them."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.service import Service

Asgi = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]


class App:
    """What a user's ``app.py`` declares: its services, and ASGI apps under a path prefix."""

    def __init__(self, name: str, *, services: Iterable[Service] = ()) -> None:
        self.name = name
        self.services: list[Service] = []
        self.mounts: dict[str, tuple[Asgi, str | None]] = {}
        for service in services:
            self.add(service)

    def add(self, service: Service) -> Service:
        """Add a service. Raises ValueError when its name is taken."""
        if any(s.name == service.name for s in self.services):
            raise Misdeclared(f"a service named {service.name!r} is there already")
        self.services.append(service)
        return service

    def mount(self, prefix: str, asgi: Asgi, *, scope: str | None = None) -> None:
        """Serve an ASGI app under ``prefix``, behind the gateway; callers need ``scope``."""
        if not prefix.startswith("/") or prefix.endswith("/") or prefix.startswith("/v1"):
            raise Misdeclared(
                f"{prefix!r} is not a place to mount an app: write '/name', and nothing under /v1"
            )
        if prefix in self.mounts:
            raise Misdeclared(f"{prefix} is mounted twice: give one of them another path")
        if not callable(asgi):
            raise Misdeclared(f"{prefix}: {asgi!r} is not an ASGI application")
        self.mounts[prefix] = (asgi, scope)
