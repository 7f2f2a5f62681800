"""The settings of GraphQL: ``[graphql]``."""

from typing import Annotated

import msgspec


class GraphqlSettings(msgspec.Struct, frozen=True):
    """``[graphql]``: whether it is served, whether its schema is told, and how large a document is.

    ``depth_max`` counts levels of fields, ``roots_max`` calls of one document with aliases,
    ``fields_max`` fields once fragments are put in, ``tokens_max`` names and signs of its text.
    """

    enabled: bool = True
    introspection: bool = True
    depth_max: Annotated[int, msgspec.Meta(ge=1, le=30)] = 15
    roots_max: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 30
    fields_max: Annotated[int, msgspec.Meta(ge=1, le=20_000)] = 2_000
    tokens_max: Annotated[int, msgspec.Meta(ge=10, le=50_000)] = 2_000
