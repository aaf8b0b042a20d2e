from __future__ import annotations

import builtins
import json
import socket
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fidelity.inside.building import NotHereError, indoors, instance_of
from fidelity.inside.holding import Held
from fidelity.inside.snapshot import changed, differences, take

Package = Callable[..., types.ModuleType]


def look(held: Held) -> dict[str, Any]:
    """What a process would report."""
    return json.loads(json.dumps(held.look()))  # type: ignore[no-any-return]


# --- building instances ----------------------------------------------------------------------------------------------


def test_constructors_that_reach_out_are_not_let_out(package: Package, tmp_path: Path) -> None:
    gizmo = package(
        __init__=f"""
        import socket, subprocess, threading

        class Thread:
            def __init__(self):
                threading.Thread(target=threading.Event().wait, daemon=True).start()

        class Socket:
            def __init__(self):
                self.socket = socket.socket()

        class Process:
            def __init__(self):
                subprocess.Popen(["true"])

        class Written:
            def __init__(self):
                open({str(tmp_path / "written")!r}, "w").close()

        class Asking:
            def __init__(self):
                input()

        class Ending:
            def __init__(self):
                raise SystemExit(3)

        class Reading:
            def __init__(self):
                with open(__file__) as file:
                    self.text = file.read()
        """
    )
    before = set(threading.enumerate())
    were = (threading.Thread.start, socket.socket.__init__, builtins.open)
    with indoors():
        built = {name: instance_of(cls)[1] for name, cls in vars(gizmo).items() if isinstance(cls, type)}
    assert built == dict.fromkeys(("Thread", "Socket", "Process", "Written", "Asking", "Ending"), False) | {
        "Reading": True
    }
    assert set(threading.enumerate()) == before
    assert not (tmp_path / "written").exists()
    assert (threading.Thread.start, socket.socket.__init__, builtins.open) == were


def test_the_doors_open_again_after_an_error() -> None:
    with pytest.raises(KeyError), indoors():
        raise KeyError
    with indoors(), pytest.raises(NotHereError):
        threading.Thread(target=print).start()
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


# --- holding ---------------------------------------------------------------------------------------------------------

SOME = """
import threading

class Plain:
    def __init__(self):
        self.size = 1
    def grow(self):
        return self.size

class Wanting:
    def __init__(self, size):
        self.size = size
    def grow(self):
        return self.size

class Talking(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.start()
    def hush(self):
        pass

class Token(Plain):
    pass

class Keyword(Token):
    pass

def greet(name="you"):
    return "hello " + name
"""


def test_every_class_is_held_by_an_instance_also_one_that_could_not_be_built(package: Package) -> None:
    package(__init__=SOME)
    before = set(threading.enumerate())
    held = Held(["gizmo"])
    found = look(held)
    assert set(threading.enumerate()) == before
    for bound in ("Plain|bound grow", "Wanting|bound grow", "Talking|bound hush", "Token|type of an instance"):
        assert found[f"gizmo:{bound}"], bound
    assert found["gizmo:Plain|fields"] == {"subset": ["size"]}
    assert "gizmo:Wanting|fields" not in found


def test_no_instance_and_no_subclass_is_held_of_what_is_left_out(package: Package) -> None:
    package(__init__=SOME)
    held = Held(["gizmo"], ["gizmo.Token", "gizmo.Tokn"])
    kinds = {name: {key.partition("|")[2] for key in held.looks if key.startswith(f"gizmo:{name}|")} for name in
             ("Plain", "Token", "Keyword")}  # fmt: skip
    assert {"instance", "subclass", "list"} <= kinds["Plain"]
    for name in ("Token", "Keyword"):
        assert "list" in kinds[name]
        assert not {"instance", "subclass", "type of an instance", "fields"} & kinds[name]
    assert held.unknown() == ["gizmo.Tokn"]


def test_a_look_says_when_code_class_or_instance_are_others(package: Package) -> None:
    gizmo = package(__init__=SOME)
    held = Held(["gizmo"])
    first = look(held)
    assert look(held) == first
    exec('def greet(name="me"):\n    return "good day " + name', vars(gizmo))
    class_of = type("Plain", (), {"__module__": "gizmo"})
    was, gizmo.Plain = gizmo.Plain, class_of  # type: ignore[attr-defined]
    now = look(held)
    wrong = {key for key, value in now.items() if value != first[key]}
    assert {"gizmo:greet|module alias", "gizmo:greet|alias", "gizmo:Plain|list", "gizmo:Plain|isinstance"} <= wrong
    assert not any(key.startswith("gizmo:Wanting|") for key in wrong)
    gizmo.Plain = was  # type: ignore[attr-defined]
    del was.grow
    assert "gizmo:Plain|shape" in {key for key, value in look(held).items() if value != now[key]}


# --- the graph -------------------------------------------------------------------------------------------------------


def test_what_is_not_as_it_was_is_named(package: Package) -> None:
    gizmo: Any = package(__init__="class A:\n    made = 0\n\nTABLE = {'x': 1}\nONE = A()\n")
    before = take(["gizmo"])
    assert differences(before, take(["gizmo"])) == []
    gizmo.A.made += 1
    gizmo.ONE.size = 3
    gizmo.TABLE["y"] = 2
    told = "\n".join(differences(before, take(["gizmo"])))
    assert "type gizmo.A / made: ('int', 0) became ('int', 1)" in told
    assert "A / .size: (absent) became ('int', 3)" in told
    assert "dict / value 1: (absent) became ('int', 2)" in told


def test_what_the_interpreter_notes_is_no_difference(package: Package) -> None:
    gizmo = package(__init__="def f():\n    return 1\n")
    before = take(["gizmo"])
    vars(gizmo)["__warningregistry__"] = {"version": 1}
    assert differences(before, take(["gizmo"])) == []


def test_an_instance_that_passes_every_question_on_can_differ(package: Package) -> None:
    gizmo: Any = package(
        __init__="""
        class Filter:
            def __init__(self, source):
                self.source = source
            def __getattr__(self, name):
                return getattr(self.source, name)

        ONE = Filter.__new__(Filter)
        """
    )
    before = take(["gizmo"])
    gizmo.ONE.__dict__["size"] = 1
    assert differences(before, take(["gizmo"])) == ["Filter / .size: (absent) became ('int', 1)"]


def test_the_places_that_looks_change_by_themselves_are_known_and_no_others(package: Package) -> None:
    gizmo: Any = package(
        __init__="class Counting:\n    made = 0\n    def __init__(self):\n        type(self).made += 1\n\nLIMIT = 1\n"
    )
    held = Held(["gizmo"])
    look(held)
    before = take(["gizmo"], [held.looks])
    look(held)
    after = take(["gizmo"], [held.looks])
    restless = set(changed(before, after))
    assert [word.partition(":")[0] for word in changed(before, after).values()] == ["type gizmo.Counting / made"]
    look(held)
    gizmo.LIMIT = 2
    late = changed(after, take(["gizmo"], [held.looks]))
    assert [told for place, told in late.items() if place not in restless] == [
        "module gizmo / LIMIT: ('int', 1) became ('int', 2)"
    ]
