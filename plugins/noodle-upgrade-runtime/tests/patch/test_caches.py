"""Caches whose contents could not be made fit for the new version."""

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

LEXERS = """
_NAME = {}
class Settings:
    size = 1
class Lexer:
    def __init__(self, settings):
        self.a = 1
        MORE
    def read(self): return READ
def lexer(settings):
    return _NAME.setdefault('one', Lexer(settings))
"""


def lexers(read, more="pass", name="cache"):
    return LEXERS.replace("READ", read).replace("MORE", more).replace("NAME", name)


NEW = ("self.size", "self.size = settings.size")


def test_what_only_a_cache_holds_is_made_anew_in_either_version(package):
    module = package.load(lexers("self.a"), lexers(*NEW))
    assert module.lexer(module.Settings).read() == 1
    evidence = package.stage().evidence
    assert evidence["caches"] == [f"{package.name}._cache"]
    foreseen = {**evidence, **package.prepared.foreseen()}
    assert package.engine.review(package.change(), foreseen) == ()
    old = module._cache["one"].__dict__
    package.upgrade()
    assert module._cache == {}
    assert any("_cache is emptied" in warning for warning in package.prepared.warnings)
    assert module.lexer(module.Settings).read() == 1
    package.rollback()
    assert module.lexer(module.Settings).read() == 1
    assert module._cache["one"].__dict__ == old


@pytest.mark.parametrize("where", ["a list", "a tuple", "a call", "an instance"])
def test_what_somebody_else_holds_too_is_refused(package, where):
    module = package.load(lexers("self.a"), lexers(*NEW))
    foreseen = package.stage().foreseen() | package.prepared.evidence
    held = module.lexer(module.Settings)
    keeper = type("Keeper", (), {})()
    if where == "an instance":
        keeper.held = held
    kept = {"a list": [held], "a tuple": (held,), "an instance": keeper, "a call": None}[where]
    if where != "a call":
        del held
    assert package.engine.review(package.change(), foreseen)
    with pytest.raises(SwapRefusedError, match="would lack size"):
        package.stage()
    del kept, keeper


def test_a_registry_is_no_cache(package):
    module = package.load(lexers("self.a", name="registry"), lexers(*NEW, name="registry"))
    module.lexer(module.Settings)
    with pytest.raises(SwapRefusedError, match="would lack size"):
        package.stage()


KEPT = """
class LRUCache:
    def __init__(self): self.mapping, self.order = {}, []
    def put(self, key, value):
        self.mapping[key] = value
        self.order.append(key)
        return value
lexers = LRUCache()
"""


def test_a_cache_with_parts_is_emptied_whole(package):
    more = "\ndef make(settings): return lexers.mapping.get('k') or lexers.put('k', Lexer(settings))\n"
    module = package.load(KEPT + lexers("self.a", name="x") + more, KEPT + lexers(*NEW, name="x") + more)
    module.make(module.Settings)
    package.upgrade()
    assert (module.lexers.mapping, module.lexers.order) == ({}, [])
    assert module.make(module.Settings).read() == 1
    package.rollback()
    assert (list(module.lexers.mapping), module.lexers.order) == (["k"], ["k"])
    assert module.make(module.Settings).read() == 1


SPECS = """
from collections import namedtuple
Spec = namedtuple("Spec", "FIELDS")
def spec(key, _cache={}):
    if key not in _cache:
        _cache[key] = Spec(*range(COUNT))
    return _cache[key].LAST
"""


def test_what_the_new_version_put_into_a_cache_is_dropped_when_it_is_left_also_where_a_default_is_the_cache(package):
    old, new = (
        SPECS.replace("FIELDS", fields).replace("COUNT", str(len(fields.split()))).replace("LAST", fields.split()[-1])
        for fields in ("a b", "a b c")
    )
    module = package.load(old, new)
    package.upgrade()
    assert module.spec("one") == 2
    package.rollback()
    assert package.prepared.went_back() == (f"emptied: {package.name}.spec:_cache",)
    assert module.spec("one") == 1


def test_a_cache_of_the_old_version_s_own_stays_when_the_new_one_is_left(package):
    module = package.load(lexers("self.a"), lexers("self.a"))
    package.upgrade()
    held = module.lexer(module.Settings)
    package.rollback()
    package.prepared.went_back()
    assert module._cache == {"one": held}
