"""Resources are made after what they need, once, and what cannot be made is said at the start."""

import re

import pytest

from mainspring.kernel.declaration import Misdeclared
from mainspring.kernel.resource import make_all
from mainspring.kernel.service import Service


class Port:
    pass


class Pool:
    def __init__(self, port):
        self.port = port


class Client:
    def __init__(self, pool, port):
        self.pool, self.port = pool, port


def service(name="shelves"):
    return Service(name, doc="Shelves.")


def test_each_is_made_after_what_it_needs():
    shelves = service()
    shelves.provide(Client, needs=(Pool, Port))
    shelves.provide(Pool, lambda port: Pool(port), needs=(Port,))
    port = Port()
    held = {Port: port}
    pool, client = make_all(shelves.resources, held)
    assert (type(pool), type(client)) == (Pool, Client)
    assert (held[Pool], held[Client]) == (pool, client)
    assert (client.pool, client.port, pool.port) == (pool, port, port)


def test_what_is_given_is_taken_instead():
    shelves = service()
    shelves.provide(Pool, needs=(Port,))
    given = Pool(None)
    held = {Port: Port(), Pool: given}
    assert make_all(shelves.resources, held) == [given]
    assert held[Pool] is given


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (
            lambda one, other: one.provide(Client, needs=(Port, Pool)),
            "shelves: Client needs Pool, which nothing provides; there are Client, Port",
        ),
        (
            lambda one, other: (one.provide(Pool), other.provide(Pool)),
            "books and shelves both provide Pool: let one of them do",
        ),
        (
            lambda one, other: (
                one.provide(Pool, needs=(Client,)),
                other.provide(Client, needs=(Pool,)),
            ),
            "resources need each other in a circle: Pool, Client",
        ),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_is(declare, said):
    one, other = service(), service("books")
    declare(one, other)
    held = {Port: Port()}
    with pytest.raises(Misdeclared, match=re.escape(said)):
        make_all([*one.resources, *other.resources], held)
    assert list(held) == [Port]
