from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from fidelity.inside.changes import UsersChanges, registrations, survey
from fidelity.inside.modules import import_all
from fidelity.inside.snapshot import differences, take

Package = Callable[..., types.ModuleType]
TOPS = ["gizmo"]
SHOP = """
import abc, contextvars, functools

LIMIT, NAME, STRICT = 10, "gizmo", False
REGISTRY = {"plain": str}
HOOKS = [len]
SEEN = {"a"}
current = contextvars.ContextVar("current")

class Shop(abc.ABC):
    shelf = {"book": 1}
    size = 3

@functools.singledispatch
def show(value):
    return "?"
"""


def test_a_survey_has_every_place_with_what_it_holds(package: Package) -> None:
    package(__init__=SHOP)
    found = survey(TOPS)
    assert found["gizmo:LIMIT"] == ["int", "10"]
    assert found["gizmo:NAME"] == ["str", "'gizmo'"]
    assert found["gizmo:REGISTRY"] == ["dict", None]
    assert found["gizmo:Shop.shelf"] == ["dict", None]
    assert found["gizmo:Shop.size"] == ["int", "3"]
    assert found["gizmo:"] == ["module", None]
    assert "gizmo:__name__" not in found


def test_everything_that_can_be_changed_is_and_is_known_to_be(package: Package) -> None:
    gizmo: Any = package(__init__=SHOP)
    changes = UsersChanges(TOPS, survey(TOPS))
    made = {one.path for one in changes.made}
    assert {f"gizmo:{name}" for name in ("LIMIT", "NAME", "STRICT", "REGISTRY", "HOOKS", "SEEN", "Shop.shelf")} <= made
    assert {"gizmo:Shop + a virtual subclass", "gizmo:show + a dispatch", "gizmo:current + a context"} <= made
    assert (gizmo.LIMIT, gizmo.NAME, gizmo.STRICT) == (11, "gizmo~", True)
    assert len(gizmo.REGISTRY) == len(gizmo.HOOKS) == len(gizmo.SEEN) == len(gizmo.Shop.shelf) == 2
    assert changes.lost() == []


def test_what_is_registered_before_a_suite_runs_is_not_in_its_way(package: Package) -> None:
    gizmo: Any = package(__init__=SHOP)
    paths = {one.path for one in registrations(TOPS)}
    assert "gizmo:show + a dispatch" in paths
    assert (gizmo.current.get(None), gizmo.LIMIT, gizmo.REGISTRY) == (None, 10, {"plain": str})


@pytest.mark.parametrize(
    ("forget", "path"),
    [
        ("gizmo.LIMIT = 10", "gizmo:LIMIT"),
        ("gizmo.REGISTRY = {'plain': str}", "gizmo:REGISTRY"),
        ("gizmo.REGISTRY.popitem()", "gizmo:REGISTRY"),
        ("gizmo.HOOKS.pop()", "gizmo:HOOKS"),
        ("gizmo.SEEN.clear()", "gizmo:SEEN"),
        ("gizmo.Shop.shelf = {'book': 1}", "gizmo:Shop.shelf"),
        ("del gizmo.Shop.noodle_users_attribute", "gizmo:Shop + an attribute"),
        ("del gizmo.noodle_users_name", "gizmo: + a name of the user's"),
    ],
)
def test_what_is_lost_is_named(package: Package, forget: str, path: str) -> None:
    gizmo = package(__init__=SHOP)
    changes = UsersChanges(TOPS, survey(TOPS))
    exec(forget, {"gizmo": gizmo})
    assert changes.lost() == [path]


def test_a_class_that_is_another_one_has_lost_what_was_set_on_it(package: Package) -> None:
    gizmo: Any = package(__init__=SHOP)
    changes = UsersChanges(TOPS, survey(TOPS))
    gizmo.Shop = type("Shop", (), {**vars(gizmo.Shop)})
    assert "gizmo:Shop.shelf" in changes.lost()


def test_what_the_new_version_changes_itself_is_a_conflict_and_left_alone_first(package: Package) -> None:
    gizmo: Any = package(__init__=SHOP)
    new = {**survey(TOPS), "gizmo:LIMIT": ["int", "20"]}
    changes = UsersChanges(TOPS, new)
    assert (changes.conflicts, gizmo.LIMIT) == (["gizmo:LIMIT"], 10)
    (both,) = changes.set_conflicts()
    assert gizmo.LIMIT == 11
    gizmo.LIMIT = 20
    assert not both.kept()


def test_what_the_new_version_lacks_or_was_told_to_leave_is_not_changed(package: Package) -> None:
    gizmo: Any = package(__init__=SHOP)
    new = {key: value for key, value in survey(TOPS).items() if key != "gizmo:HOOKS"}
    changes = UsersChanges(TOPS, new, without=["gizmo:NAME"])
    assert (len(gizmo.HOOKS), gizmo.NAME) == (1, "gizmo")
    assert {"gizmo:HOOKS", "gizmo:NAME"}.isdisjoint(one.path for one in changes.made)


def test_a_table_with_several_names_is_changed_once(package: Package) -> None:
    package(
        __init__="from gizmo.tables import *\n",
        tables="class Application:\n    flags = {'debug': 1}\n\ndefault_flags = Application.flags\n",
    )
    changes = UsersChanges(TOPS, survey(TOPS))
    flags = [one.path for one in changes.made if "flags" in one.path]
    assert len(flags) == 1
    assert len(sys.modules["gizmo.tables"].default_flags) == 2
    assert changes.lost() == []


def test_a_module_that_will_not_be_imported_is_noted_whatever_it_raises(package: Package) -> None:
    package(__init__="", good="X = 1\n")
    folder = sys.modules["gizmo"].__path__[0]
    for name, word in (("bad", "raise BaseException('no')"), ("ends", "raise SystemExit(2)"), ("tests/helper", "1/0")):
        path = __import__("pathlib").Path(folder, f"{name}.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(word)
    failed = import_all(TOPS)
    assert set(failed) == {"gizmo.bad", "gizmo.ends"}
    assert failed["gizmo.bad"] == "BaseException: no"
    assert "gizmo.good" in sys.modules


def test_a_proxy_of_a_context_that_the_user_has_set_can_be_looked_at(package: Package) -> None:
    gizmo: Any = package(
        __init__="""
        import contextvars

        current = contextvars.ContextVar("current")

        class Proxy:
            @property
            def __class__(self):
                set_by = current.get(None)
                return Proxy if set_by is None else type(set_by.app.environ["thing"])

        proxy = Proxy()
        """
    )
    changes = UsersChanges(TOPS, survey(TOPS))
    assert "gizmo:current + a context" in {one.path for one in changes.made}
    assert gizmo.proxy.__class__.__name__ == "UsersContext"
    before = take(TOPS, [changes.made])
    assert differences(before, take(TOPS, [changes.made])) == []
    assert changes.lost() == []
    gizmo.current.set(None)
    assert changes.lost() == ["gizmo:current + a context"]
