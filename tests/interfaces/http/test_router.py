"""Finding what a path is."""

import pytest

from mainspring.interfaces.http.router import Router
from mainspring.kernel.errors import NotFound

TEMPLATES = [
    "/v1/users", "/v1/users/me", "/v1/users/{id}", "/v1/users/{id}/keys", "/v1/users/me/x/y",
    "/v1/jobs/{id}:cancel", "/v1/jobs/{id}", "/v1/c/{name}/records", "/v1/c/{name}/records:batch",
    "/v1/c/{name}/records/{id}", "/v1/c/{name}/records/{id}/files/{field}", "/v1/only/{id}:verb",
    "/.well-known/jwks.json", "/",
]  # fmt: skip


@pytest.fixture
def router() -> Router[str]:
    router: Router[str] = Router()
    for template in TEMPLATES:
        router.add("GET", template, template)
    return router


@pytest.mark.parametrize(
    ("path", "template", "values"),
    [
        ("/v1/users", "/v1/users", ()),
        ("/v1/users/me", "/v1/users/me", ()),
        ("/v1/users/you", "/v1/users/{id}", ("you",)),
        ("/v1/users/me/keys", "/v1/users/{id}/keys", ("me",)),
        ("/v1/users/me/x/y", "/v1/users/me/x/y", ()),
        ("/v1/jobs/job_1:cancel", "/v1/jobs/{id}:cancel", ("job_1",)),
        ("/v1/jobs/job_1", "/v1/jobs/{id}", ("job_1",)),
        ("/v1/jobs/job_1:other", "/v1/jobs/{id}", ("job_1:other",)),
        ("/v1/jobs/a:b:cancel", "/v1/jobs/{id}:cancel", ("a:b",)),
        ("/v1/jobs/:cancel", "/v1/jobs/{id}", (":cancel",)),
        ("/v1/c/posts/records:batch", "/v1/c/{name}/records:batch", ("posts",)),
        ("/v1/c/a%2Fb/records/%20%C3%A9", "/v1/c/{name}/records/{id}", ("a/b", " é")),
        ("/v1/c/a/records/b/files/c", "/v1/c/{name}/records/{id}/files/{field}", ("a", "b", "c")),
        ("/.well-known/jwks.json", "/.well-known/jwks.json", ()),
        ("/", "/", ()),
    ],
)
def test_a_path_is_found(router: Router[str], path: str, template: str, values: object) -> None:
    found = router.find(path)
    assert found is not None
    assert (found[0]["GET"], found[1]) == (template, values)


@pytest.mark.parametrize(
    "path",
    ["", "/v1", "/v1/users/", "/v1//users", "/v1/users/me/", "/v1/users//keys", "/v1/only/x",
     "/v1/users/me/x", "/V1/users", "/v1/users/{id}/nope", "/" + "x/" * 40, "/v1/c/x/records/",
     "/v1/users/" + "x" * 5_000, "//", "*"],
)  # fmt: skip
def test_another_path_is_not(router: Router[str], path: str) -> None:
    assert router.find(path) is None


def test_a_value_that_is_no_text_is_nowhere(router: Router[str]) -> None:
    for path in ("/v1/users/%ff", "/v1/users/%00"):
        with pytest.raises(NotFound):
            router.find(path)


def test_a_route_is_added_once(router: Router[str]) -> None:
    with pytest.raises(ValueError, match="there already"):
        router.add("GET", "/v1/users", "again")
    with pytest.raises(ValueError, match="whole segment"):
        router.add("GET", "/v1/x{id}", "half")
