"""What a package puts into registries of other packages, and what holds its objects weakly."""

import importlib
import sys
import textwrap

import pytest

HOST = """
registry, hooks, kinds = {}, [], set()
class Base:
    known = {}
    def __init_subclass__(cls): Base.known[cls.__name__] = cls
class Registry:
    def __init__(self): self.table, self.order = {}, []
    def add(self, name):
        def taken(function):
            self.table[name] = function
            self.order.append((name, function))
            return function
        return taken
names = Registry()
"""
PLUGIN = """
import host_of_plugins as host
def answer(): return 'VERSION'
host.registry['answer'] = answer
host.hooks.append(answer)
class Plug(host.Base):
    def answer(self): return 'VERSION'
host.kinds.add(Plug)
@host.names.add('named')
def named(): return 'VERSION'
"""


@pytest.fixture
def host(tmp_path, monkeypatch):
    (tmp_path / "host_of_plugins.py").write_text(HOST)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("host_of_plugins")
    del sys.modules["host_of_plugins"]


def seen(host):
    return {
        "registry": {name: function() for name, function in host.registry.items()},
        "hooks": [function() for function in host.hooks],
        "known": {name: cls().answer() for name, cls in host.Base.known.items()},
        "kinds": sorted(cls.__name__ for cls in host.kinds),
        "table": {name: function() for name, function in host.names.table.items()},
        "order": [(name, function()) for name, function in host.names.order],
    }


def expected(version):
    return {
        "registry": {"answer": version},
        "hooks": [version],
        "known": {"Plug": version},
        "kinds": ["Plug"],
        "table": {"named": version},
        "order": [("named", version)],
    }


def test_a_plugin_is_registered_with_its_host_once_and_by_the_version_that_runs(package, host):
    module = package.load(PLUGIN.replace("VERSION", "old"), PLUGIN.replace("VERSION", "new"))
    assert seen(host) == expected("old")
    package.stage()
    assert seen(host) == expected("old")
    package.upgrade()
    assert seen(host) == expected("new")
    assert host.registry["answer"] is module.answer
    assert host.Base.known["Plug"] is module.Plug
    package.rollback()
    assert seen(host) == expected("old")


def test_what_the_new_version_registers_besides_comes_and_what_it_does_not_register_any_more_goes(package, host):
    more = "host.registry['more'] = lambda: 'more'\nhost.hooks.insert(0, host.registry['more'])\n"
    less = textwrap.dedent(PLUGIN).replace("host.registry['answer'] = answer\nhost.hooks.append(answer)\n", more)
    package.load(PLUGIN.replace("VERSION", "old"), less.replace("VERSION", "new"))
    package.upgrade()
    assert seen(host) == {**expected("new"), "registry": {"more": "more"}, "hooks": ["more"]}
    package.rollback()
    assert seen(host) == expected("old")


def test_what_the_program_has_registered_or_replaced_stays(package, host):
    package.load(PLUGIN.replace("VERSION", "old"), PLUGIN.replace("VERSION", "new"))
    host.registry["answer"] = lambda: "mine"
    host.hooks.append(lambda: "mine")
    package.upgrade()
    assert (seen(host)["registry"], seen(host)["hooks"]) == ({"answer": "mine"}, ["new", "mine"])
    package.rollback()
    assert (seen(host)["registry"], seen(host)["hooks"]) == ({"answer": "mine"}, ["old", "mine"])


WEAK = "import weakref\nclass A: pass\nclass ONE: pass\nkept = weakref.WeakSet([A, ONE])\n"


def test_a_weak_set_has_the_members_of_the_version_that_runs_and_the_program_s(package):
    class Mine:
        pass

    kept = package.load(WEAK.replace("ONE", "B"), WEAK.replace("ONE", "C")).kept
    kept.add(Mine)

    def names():
        return sorted(cls.__name__ for cls in kept)

    package.upgrade()
    assert names() == ["A", "C", "Mine"]
    package.rollback()
    assert names() == ["A", "B", "Mine"]


BY_VALUE = "import weakref\nclass A: pass\na, ONE = A(), A()\nkept = weakref.WeakValueDictionary(a=a, ONE=ONE)\n"
BY_KEY = "import weakref\nclass a: pass\nclass ONE: pass\nkept = weakref.WeakKeyDictionary({a: 1, ONE: 2})\n"


@pytest.mark.parametrize("source", [BY_VALUE, BY_KEY], ids=["by value", "by key"])
def test_a_weak_mapping_has_what_the_version_that_runs_puts_there_and_the_program_s(package, source):
    class Mine:
        pass

    module = package.load(source.replace("ONE", "b"), source.replace("ONE", "c"))
    kept, first = module.kept, module.a
    kept[Mine if source is BY_KEY else "mine"] = Mine

    def names():
        return sorted(key if isinstance(key, str) else key.__name__.lower() for key in kept)

    package.upgrade()
    assert names() == ["a", "c", "mine"]
    assert first in kept if source is BY_KEY else kept["a"] is first
    package.rollback()
    assert names() == ["a", "b", "mine"]


ABSTRACT = "import abc\nclass Base(abc.ABC): pass\nclass X: pass\nclass Y: pass\nBase.register(ONE)\n"


def test_an_abstract_class_knows_what_the_version_that_runs_registers_and_what_the_program_does(package):
    class Mine:
        pass

    module = package.load(ABSTRACT.replace("ONE", "X"), ABSTRACT.replace("ONE", "Y"))
    module.Base.register(Mine)
    held = [module.X(), module.Y(), Mine()]

    def known():
        return [isinstance(one, module.Base) for one in held]

    assert known() == [True, False, True]
    package.upgrade()
    assert known() == [False, True, True]
    package.rollback()
    assert known() == [True, False, True]
