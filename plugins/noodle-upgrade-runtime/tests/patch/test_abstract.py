"""Classes that become abstract."""

from __future__ import annotations

import abc
import builtins
import inspect

import pytest

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
