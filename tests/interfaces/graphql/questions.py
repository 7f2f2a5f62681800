"""How the tests ask GraphQL."""

from typing import Any

from mainspring.testing.client import Client, HttpAnswer

RESPONSE = "application/graphql-response+json"


async def post(client: Client, query: Any, **variables: Any) -> HttpAnswer:
    """Send a document."""
    body = {"query": query, "variables": variables}
    return await client.post("/graphql", body, headers={"Accept": RESPONSE})


async def ask(client: Client, query: str, **variables: Any) -> Any:
    """Return the data of an answer without errors."""
    answer = (await post(client, query, **variables)).expect(200)
    assert "errors" not in answer, answer["errors"]
    return answer["data"]


async def refused(client: Client, query: str, **variables: Any) -> Any:
    """Return the errors of an answer, by the keys of the fields they are of."""
    answer = (await post(client, query, **variables)).expect(200)
    return {error["path"][0]: error for error in answer["errors"]}
