"""``/graphql``: its place among the pages. What serves it is loaded by the first request.

Loading graphql-core takes longer than all else of a start, and many processes are never asked.
"""

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mainspring.interfaces.graphql.settings import GraphqlSettings
from mainspring.interfaces.http.exchange import Exchange
from mainspring.interfaces.rest.asgi import RestApp
from mainspring.kernel.errors import Failure
from mainspring.kernel.invocation import Invoker
from mainspring.kernel.registry import Registry
from mainspring.runtime.invoke.descriptions import Descriptions

PATH = "/graphql"

_SERVING = "mainspring.interfaces.graphql.serving"


class DocumentRefused(Failure):
    """A document, or its variables, that cannot be run: nothing of it was.

    ``found`` are the errors of graphql-core, with their places.
    """

    code = "graphql_refused"
    status = 400
    title = "The GraphQL document cannot be run"

    def __init__(self, detail: str, errors: Sequence[Any] = ()) -> None:
        super().__init__(detail)
        self.found = errors


class GraphqlEndpoint:
    """Adds GraphQL to a REST app, which lets its callers in and counts them.

    ``descriptions`` knows what the data adds to operations.
    """

    def __init__(
        self,
        rest: RestApp,
        registry: Registry,
        invoker: Invoker,
        settings: GraphqlSettings,
        descriptions: Descriptions,
    ) -> None:
        self._rest = rest
        self._given = rest, registry, invoker, settings, descriptions
        self._serving: Any = None
        self._loading = asyncio.Lock()
        mount = rest.mounts.find(PATH)
        taken = mount is not None and mount.prefix == PATH
        if settings.enabled and rest.serves and not taken and rest.router.find(PATH) is None:
            rest.add("POST", PATH, self.serve)
            rest.add("GET", PATH, self.serve)

    async def serve(self, exchange: Exchange) -> None:
        """Answer one request. Raises what keeps its caller out."""
        await self._rest.admit(exchange, None)
        if self._serving is None:
            async with self._loading:
                if self._serving is None:
                    module = await asyncio.to_thread(import_module, _SERVING)
                    self._serving = module.GraphqlServing(*self._given)
        await self._serving.serve(exchange)
