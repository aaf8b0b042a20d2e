"""Classes that become abstract."""

from __future__ import annotations

import abc
import builtins
import inspect
import typing

import pytest

from noodle_upgrade_core.errors import SwapRefusedError

OLD = """
class Meta(type):
    def __new__(mcs, name, bases, body):
        return super().__new__(mcs, name, bases, {**body, "made": "old"})
class Base:
    def dump(self): raise NotImplementedError
    def name(self): return "old"
class Field(Base):
    def dump(self): return "old"
class Schema(Base, metaclass=Meta):
    def dump(self): return "old"
"""
NEW = """
import abc
class Meta(abc.ABCMeta):
    def __new__(mcs, name, bases, body):
        return super().__new__(mcs, name, bases, {**body, "made": "new"})
class Base(abc.ABC):
    @abc.abstractmethod
    def dump(self): ...
    def name(self): return "new"
class Half(Base):
    def more(self): return "new"
class Field(Base):
    def dump(self): return "new"
class Schema(Base, metaclass=Meta):
    def dump(self): return "new"
"""


def test_a_class_that_nobody_derives_from_becomes_abstract_altogether(package):
    module = package.load(OLD, NEW)
    package.upgrade()
    assert isinstance(module.Base, abc.ABCMeta)
    assert issubclass(module.Field, abc.ABC)
    assert package.prepared.warnings == ()
    package.rollback()
    assert type(module.Base) is type


def test_with_a_user_s_subclass_it_keeps_its_metaclass_and_refuses_instances_all_the_same(package):
    module = package.load(OLD, NEW)

    class Mine(module.Field):
        pass

    class MySchema(module.Schema):
        pass

    held, schema = Mine(), MySchema()
    package.upgrade()
    assert (held.dump(), held.name(), schema.dump(), MySchema.made) == ("new", "new", "new", "old")
    assert type("Later", (module.Schema,), {}).made == "new"
    for cls in (module.Base, module.Half):
        assert inspect.isabstract(cls)
        with pytest.raises(TypeError, match="abstract"):
            cls()
    assert module.Field().dump() == "new"
    assert any("Base becomes abstract" in one for one in package.prepared.warnings)
    package.rollback()
    assert (held.dump(), held.name(), module.Base().name()) == ("old", "old", "old")
    assert not inspect.isabstract(module.Base)


def test_what_a_version_has_taken_from_the_language_while_it_was_loaded_is_what_everybody_has(package):
    taken = "import builtins\nTAKEN = [builtins.__build_class__, builtins.__import__]\n"
    module = package.load(OLD, taken + NEW)
    package.upgrade()
    assert [builtins.__build_class__, builtins.__import__] == module.TAKEN


def test_a_plan_does_not_count_instances_of_classes_that_only_become_abstract_against_a_change(package):
    module = package.load(OLD, NEW)
    foreseen = package.stage().foreseen() | package.prepared.evidence
    held = module.Field()
    assert package.engine.review(package.change(), foreseen) == ()
    assert any("Abstract classes come of" in one for one in package.engine.notes(package.change(), foreseen))
    package.upgrade()
    assert held.dump() == "new"


WITH_A_METACLASS = """
import abc

class Meta(abc.ABCMeta):
    pass

class Base(metaclass=META):
    def size(self): return VERSION
"""


def test_what_the_program_has_registered_is_registered_with_the_class_of_another_metaclass_too(package):
    old, new = (
        WITH_A_METACLASS.replace("META", m).replace("VERSION", v) for m, v in (("abc.ABCMeta", "1"), ("Meta", "2"))
    )
    module = package.load(old + "Base.register(tuple)\n", new + "Base.register(frozenset)\n")
    before = id(module.Base)  # a variable would be told of the new one
    module.Base.register(list)
    package.upgrade()
    assert type(module.Base) is module.Meta
    assert [issubclass(one, module.Base) for one in (list, frozenset, tuple, dict)] == [True, True, False, False]
    package.rollback()
    assert id(module.Base) == before
    assert [issubclass(one, module.Base) for one in (list, frozenset, tuple, dict)] == [True, False, True, False]


@pytest.mark.parametrize("becomes", ["class Base:\n    pass\n", "class Base(type):\n    pass\n"])
def test_what_the_new_version_cannot_register_any_more_is_refused_by_name(package, becomes):
    module = package.load(WITH_A_METACLASS.replace("META", "abc.ABCMeta").replace("VERSION", "1"), becomes)
    module.Base.register(list)
    with pytest.raises(SwapRefusedError, match=r"registered builtins\.list with .*\.Base, which the new version"):
        package.stage()
    assert issubclass(list, module.Base)


# As anyio did it: an abstract generic class becomes a protocol.
GENERIC = """
import abc, typing
T = typing.TypeVar("T", contravariant=True)

class Status(typing.Generic[T], metaclass=abc.ABCMeta):
    @abc.abstractmethod
    def started(self, value: T) -> str: ...
    def version(self): return 1
"""
PROTOCOL = """
import abc, typing
T = typing.TypeVar("T", contravariant=True)

class Status(typing.Protocol[T]):
    def started(self, value: T) -> str: ...
    def version(self): return 2
"""


def test_a_subclass_and_its_instances_follow_an_abstract_class_that_becomes_a_protocol(package):
    module = package.load(GENERIC, PROTOCOL)
    before = id(module.Status)  # a variable would be told of the new one

    class Mine(module.Status[int]):
        def started(self, value):
            return f"{value} of {self.version()}"

    held = Mine()
    assert held.started(3) == "3 of 1"
    package.upgrade()
    assert id(module.Status) != before
    assert Mine.__bases__ == (module.Status,)
    assert held.started(3) == "3 of 2"
    assert isinstance(held, Mine)
    package.rollback()
    assert id(module.Status) == before
    assert (Mine.__bases__, module.Status.__bases__) == ((module.Status,), (typing.Generic,))
    assert held.started(3) == "3 of 1"
    package.again()
    assert held.started(3) == "3 of 2"
