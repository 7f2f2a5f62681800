"""Who may do what in the market, case by case: the same for every way to say its rules."""

from typing import Any, Literal, NamedTuple

Who = Literal["ann", "bert", "carl", "nobody"]
PEOPLE = ("ann", "bert", "carl")
CALLERS: tuple[Who, ...] = ("ann", "bert", "carl", "nobody")

# What there is, by a name of its own. A value that names a row or somebody stands for their id.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "ann's": ("stalls", {"name": "ann's", "owner": "ann", "open": True}),
    "bert's": ("stalls", {"name": "bert's", "owner": "bert", "open": False}),
    "apple": ("offers", {"stall": "ann's", "title": "apple", "price_cents": 50}),
    "pear": ("offers", {"stall": "bert's", "title": "pear", "price_cents": 60}),
    "red": ("teams", {"name": "red", "owner": "ann"}),
    "blue": ("teams", {"name": "blue", "owner": "carl"}),
    "bert in red": ("memberships", {"team": "red", "user": "bert", "role": "editor"}),
    "carl in red": ("memberships", {"team": "red", "user": "carl", "role": "guest"}),
    "bert in blue": ("memberships", {"team": "blue", "user": "bert", "role": "editor"}),
    "bridge": ("projects", {"team": "red", "title": "bridge", "locked": False}),
    "tower": ("projects", {"team": "red", "title": "tower", "locked": True}),
    "canal": ("projects", {"team": "blue", "title": "canal", "locked": False}),
}
REFERENCES = {"owner", "stall", "team", "user"}

SEES: dict[str, dict[Who, set[str]]] = {
    "stalls": {
        "ann": {"ann's"}, "bert": {"ann's", "bert's"}, "carl": {"ann's"}, "nobody": {"ann's"},
    },
    "offers": {"ann": {"apple"}, "bert": {"apple", "pear"}, "carl": {"apple"}, "nobody": {"apple"}},
    "teams": {"ann": {"red"}, "bert": {"red", "blue"}, "carl": {"red", "blue"}, "nobody": set()},
    "memberships": {
        "ann": {"bert in red", "carl in red"}, "bert": {"bert in red", "bert in blue"},
        "carl": {"carl in red", "bert in blue"}, "nobody": set(),
    },
    "projects": {
        "ann": {"bridge", "tower"}, "bert": {"bridge", "tower", "canal"},
        "carl": {"bridge", "tower", "canal"}, "nobody": set(),
    },
}  # fmt: skip


class Case(NamedTuple):
    """Something that is tried, and who gets to do it."""

    action: Literal["create", "update", "delete"]
    about: str  # a row, or for a create the collection
    data: dict[str, Any]
    may: set[Who]


CASES = (
    Case("create", "stalls", {"name": "new", "owner": "ann", "open": True}, {"ann"}),
    Case("create", "stalls", {"name": "new", "owner": "carl", "open": False}, {"carl"}),
    Case("update", "ann's", {"name": "renamed"}, {"ann"}),
    Case("update", "ann's", {"owner": "bert"}, set()),
    Case("update", "bert's", {"open": True}, {"bert"}),
    Case("delete", "ann's", {}, {"ann"}),
    Case("create", "offers", {"stall": "ann's", "title": "fig", "price_cents": 5}, {"ann"}),
    Case("create", "offers", {"stall": "bert's", "title": "fig", "price_cents": 5}, {"bert"}),
    Case("update", "apple", {"price_cents": 40}, {"ann"}),
    Case("update", "apple", {"stall": "bert's"}, set()),
    Case("update", "pear", {"stall": "ann's"}, set()),
    Case("delete", "apple", {}, {"ann"}),
    Case("delete", "pear", {}, {"bert"}),
    Case("create", "teams", {"name": "new", "owner": "bert"}, {"bert"}),
    Case("update", "red", {"name": "scarlet"}, {"ann"}),
    Case("update", "red", {"owner": "bert"}, set()),
    Case("delete", "red", {}, {"ann"}),
    Case("create", "memberships", {"team": "red", "user": "ann", "role": "guest"}, {"ann"}),
    Case("create", "memberships", {"team": "blue", "user": "ann", "role": "editor"}, {"carl"}),
    Case("update", "carl in red", {"role": "editor"}, {"ann"}),
    Case("update", "bert in red", {"role": "guest"}, {"ann"}),
    Case("update", "carl in red", {"team": "blue"}, set()),
    Case("delete", "carl in red", {}, {"ann", "carl"}),
    Case("delete", "bert in blue", {}, {"bert", "carl"}),
    Case("create", "projects", {"team": "red", "title": "road", "locked": False}, {"ann"}),
    Case("create", "projects", {"team": "blue", "title": "road", "locked": False}, {"carl"}),
    Case("update", "bridge", {"title": "viaduct"}, {"ann", "bert"}),
    Case("update", "tower", {"title": "spire"}, {"ann"}),
    Case("update", "canal", {"title": "river"}, {"carl", "bert"}),
    Case("update", "bridge", {"locked": True}, {"ann"}),
    Case("update", "tower", {"locked": False}, {"ann"}),
    Case("update", "bridge", {"team": "blue"}, set()),
    Case("update", "canal", {"team": "red"}, set()),
    Case("delete", "bridge", {}, {"ann"}),
    Case("delete", "canal", {}, {"carl"}),
)
