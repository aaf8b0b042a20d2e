import sys
import textwrap
import threading
import time
import types

import pytest

from noodle_upgrade_runtime.patch import census
from noodle_upgrade_runtime.patch.census import long_lived
from noodle_upgrade_runtime.patch.construction import outdated, tables_of


def load(name, source):
    module = types.ModuleType(name)
    exec(compile(textwrap.dedent(source), f"{name}.py", "exec"), module.__dict__)
    return module


OLD = """
    RULES = ["a", "b"]
    LIMIT = 10

    def fill(target):
        for rule in RULES:
            target.append(rule)

    class Chain:
        def __init__(self):
            self.rules = []
            fill(self.rules)

    class Parser:
        def __init__(self, limit=LIMIT):
            self.limit = LIMIT
            self.chain = Chain()

    class Free:
        def __init__(self):
            self.name = "free"
        def use(self):
            return RULES
"""


def differing(old, new):
    pairs = [(value, vars(new)[name]) for name, value in vars(old).items() if isinstance(value, type)]
    return {name: tuple(one.name for one in tables) for name, tables in outdated(pairs).items()}


def test_a_table_that_a_constructor_fills_from_is_found_through_functions_and_other_classes():
    old, new = load("pkg", OLD), load("pkg", OLD.replace('["a", "b"]', '["a", "b", "c"]'))
    assert differing(old, new) == {"pkg.Chain": ("pkg.RULES",), "pkg.Parser": ("pkg.RULES",)}


def test_what_only_methods_use_follows_by_itself_and_is_not_reported():
    old, new = load("pkg", OLD), load("pkg", OLD.replace('["a", "b"]', '["a", "b", "c"]'))
    assert "pkg.Free" not in differing(old, new)


def test_equal_tables_of_two_imports_are_equal():
    source = OLD + "\n    class Kind: pass\n    RULES.append((Kind, fill, {1: {2, 3}}))\n"
    assert differing(load("pkg", source), load("pkg", source)) == {}


def test_a_number_is_not_a_table():
    old, new = load("pkg", OLD), load("pkg", OLD.replace("LIMIT = 10", "LIMIT = 20"))
    assert differing(old, new) == {}


def test_tables_on_the_class_and_methods_that_the_constructor_calls_are_followed():
    source = """
        class Box:
            defaults = {"a": 1}
            def __init__(self):
                self.reset()
            def reset(self):
                self.values = dict(self.defaults)
    """
    old, new = load("pkg", source), load("pkg", source.replace('{"a": 1}', '{"a": 1, "b": 2}'))
    assert differing(old, new) == {"pkg.Box": ("pkg.Box.defaults",)}


def test_constructors_that_refer_to_one_another_come_to_an_end():
    source = """
        class A:
            def __init__(self): self.b = B
        class B:
            def __init__(self): self.a = A()
    """
    assert tables_of(load("pkg", source).A) == {}


class Held:
    pass


class Slim:
    __slots__ = ("value",)


def test_instances_that_live_on_are_counted_with_those_of_subclasses():
    class Sub(Held):
        pass

    kept = [Held(), Sub(), Sub()]
    assert long_lived([Held, Sub], within=0.0) == {Held: 3, Sub: 2}
    assert long_lived([Held], within=0.0, known={id(kept[0])}) == {Held: 2}


def test_instances_that_calls_make_and_let_go_of_are_not_counted():
    stop = threading.Event()

    def work():
        while not stop.is_set():
            one = Held()
            one.itself = one  # only the collector can free it
            stop.wait(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert long_lived([Held], within=0.2) == {}
    finally:
        stop.set()
        thread.join()


def test_instances_of_calls_that_take_longer_are_waited_for_as_long_as_some_of_them_go():
    calls = [Held() for _ in range(3)]

    def work():
        while calls:
            time.sleep(0.3)
            calls.pop()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert long_lived([Held], within=0.6) == {}
    finally:
        thread.join()


def test_where_looks_come_late_because_the_machine_is_busy_calls_get_longer_too(monkeypatch):
    late = types.SimpleNamespace(sleep=lambda seconds: time.sleep(4 * seconds), monotonic=time.monotonic)
    monkeypatch.setattr(census, "time", late)
    calls = [Held()]
    timer = threading.Timer(0.6, calls.clear)
    timer.start()
    try:
        assert long_lived([Held], within=0.3) == {}
    finally:
        timer.join()


def test_instances_without_weak_references_count_when_they_are_there():
    kept = Slim()
    kept.value = []
    assert long_lived([Slim], within=0.0) == {Slim: 1}


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the collector is CPython's")
def test_nothing_found_costs_no_wait():
    class Never:
        pass

    assert long_lived([Never], within=60.0) == {}
