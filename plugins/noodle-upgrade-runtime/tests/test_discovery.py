import importlib
import os
import sys
import time
import types

import pytest

from noodle_upgrade_core.model import ComponentType
from noodle_upgrade_runtime.discovery import Discovery
from noodle_upgrade_runtime.distributions import Distributions
from noodle_upgrade_runtime.overlay import Overlay
from noodle_upgrade_runtime.settings import ComponentSettings, RuntimeSettings


def discovery(fable, **components):
    return Discovery(
        settings=RuntimeSettings(components=ComponentSettings(**components)),
        overlay=Overlay(fable.folder),
        ledger=fable.ledger,
        handles=fable.handles,
    )


def found(made):
    return {component.name: component for component in made.components()}


@pytest.fixture
def loaded(fable):
    fable.run("1.0")
    fable.write("1.0", "'''A tale.\n\nLong.'''\nclass Service: pass\n")
    importlib.import_module("fable")
    return fable


def test_what_is_not_loaded_is_not_listed(fable):
    fable.run("1.0")
    fable.write("1.0")
    assert "fable" not in found(discovery(fable))
    importlib.import_module("fable")
    assert "fable" in found(discovery(fable))


def test_a_broken_distribution_is_passed_over(loaded):
    folder = loaded.folder / "1.0"
    (folder / "nameless.dist-info").mkdir()
    (folder / "-.egg-info").write_text("")
    (folder / "empty-1.0.dist-info").mkdir()
    (folder / "bad-1.0.dist-info").mkdir()
    (folder / "bad-1.0.dist-info" / "RECORD").write_bytes(b"\xff\xfe\x00")
    assert found(discovery(loaded))["fable"].version == "1.0"


def test_a_loaded_distribution_is_described(loaded):
    component = found(discovery(loaded))["fable"]
    assert component.version == "1.0"
    assert component.description == ""
    assert component.component_type is ComponentType.RUNTIME
    assert component.hot_swappable
    assert not component.critical
    assert component.location == str(loaded.folder / "1.0" / "fable" / "__init__.py")
    assert component.metadata["top_levels"] == ["fable"]


@pytest.mark.parametrize("told", [True, False])
def test_the_version_that_is_loaded_counts_and_not_the_one_that_was_installed_over_it(loaded, told):
    made = discovery(loaded)
    if not told:
        del sys.modules["fable"].__version__
    assert found(made)["fable"].version == "1.0"
    info = loaded.folder / "1.0" / "fable-1.0.dist-info"
    over = info.with_name("fable-2.0.dist-info")
    info.rename(over)
    later = time.time() + 10
    os.utime(over, (later, later))
    assert found(made)["fable"].version == "1.0"


def test_a_quirk_of_a_package_about_its_own_version_is_not_believed(loaded):
    sys.modules["fable"].__version__ = "2000.1"
    past = time.time() - 1000
    os.utime(loaded.folder / "1.0" / "fable-1.0.dist-info", (past, past))
    assert found(discovery(loaded))["fable"].version == "1.0"


def test_the_ledger_of_the_swaps_is_believed(loaded):
    loaded.ledger["fable"] = "2.0"
    assert found(discovery(loaded))["fable"].version == "2.0"


def test_handles_say_what_runs(loaded):
    loaded.write("2.0", "class Service: pass\n")
    held = loaded.handle()
    made = discovery(loaded)
    assert found(made)["fable"].version == "1.0"
    swap = loaded.stage("1.0", "2.0")
    swap.shift(1.0)
    assert found(made)["fable"].version == "2.0"
    assert found(made)["fable"].entry_point == "fable:Service"
    swap.revert()
    assert found(made)["fable"].version == "1.0"
    del held


def test_the_interpreter_and_the_upgraders_own_parts_cannot_be_changed(loaded):
    components = found(discovery(loaded))
    for name in ("python", "packaging", "attrs", "pluggy"):
        assert not components[name].hot_swappable
        assert components[name].metadata["reason"]


def test_a_module_that_says_that_it_may_not_change_is_believed(loaded):
    sys.modules["fable"].__hot_swappable__ = False
    assert not found(discovery(loaded))["fable"].hot_swappable
    sys.modules["fable"].__hot_swappable__ = True
    assert found(discovery(loaded, hot_swappable_default=False))["fable"].hot_swappable


def test_the_default_decides_for_those_that_do_not_say(loaded):
    component = found(discovery(loaded, hot_swappable_default=False))["fable"]
    assert not component.hot_swappable
    assert "hot_swappable_default" in component.metadata["reason"]


@pytest.mark.parametrize("name", ["fable", "Fable", "FABLE"])
def test_critical_components_are_named_in_the_settings(loaded, name):
    assert found(discovery(loaded, critical_components=(name,)))["fable"].critical


def test_a_module_with_the_conventions_is_a_component(fable, monkeypatch):
    module = types.ModuleType("memory_manager")
    module.__version__, module.__critical__, module.__dependencies__ = "1.2", True, ["vm_engine>=1", "not a ! name"]
    monkeypatch.setitem(sys.modules, "memory_manager", module)
    component = found(discovery(fable))["memory_manager"]
    assert (component.version, component.critical) == ("1.2", True)
    assert [str(need) for need in component.dependencies] == ["vm_engine>=1"]


@pytest.mark.parametrize("version", [None, 3, "not a version", b"1.0"])
def test_a_module_without_a_real_version_is_no_component(fable, monkeypatch, version):
    module = types.ModuleType("memory_manager")
    module.__version__ = version
    monkeypatch.setitem(sys.modules, "memory_manager", module)
    assert "memory_manager" not in found(discovery(fable))


def test_without_auto_discovery_only_what_is_declared_is_listed(loaded):
    assert set(found(discovery(loaded, auto_discovery=False))) == set()
    held = loaded.handle()
    assert set(found(discovery(loaded, auto_discovery=False))) == {"fable"}
    del held


def test_dependencies_are_those_that_are_loaded_themselves(loaded):
    (loaded.folder / "1.0" / "fable-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: fable\nVersion: 1.0\n"
        "Requires-Dist: attrs>=1\nRequires-Dist: not-installed-here\nRequires-Dist: pluggy; extra == 'x'\n"
    )
    assert [str(need) for need in found(discovery(loaded))["fable"].dependencies] == ["attrs>=1"]


def test_a_distribution_is_read_once(loaded, monkeypatch):
    distributions = Distributions()
    first = {one.name for one in distributions.along()}
    monkeypatch.setattr("noodle_upgrade_runtime.distributions._installed", None)
    assert {one.name for one in distributions.along()} == first


def test_several_import_names_of_one_distribution_are_found_by_its_record(loaded):
    info = loaded.folder / "1.0" / "fable-1.0.dist-info"
    (info / "RECORD").write_text("fable/__init__.py,,\nfable_extra.py,,\n_fable.cpython-311-x86.so,,\n../bin/x,,\n")
    (dist,) = [one for one in Distributions().along() if one.name == "fable"]
    assert dist.top_levels == ("_fable", "fable", "fable_extra")


def test_a_component_is_what_it_was_until_all_its_members_are_the_new_version(fable):
    fable.run("1.0")
    for version in ("1.0", "2.0"):
        fable.write(version, "class Service:\n    def who(self): return __version__\n")
    workers = [fable.handle(), fable.handle()]
    swap = fable.stage("1.0", "2.0")
    swap.shift_members(["fable:Service#1"])
    assert [one.who() for one in workers] == ["2.0", "1.0"]
    assert found(discovery(fable))["fable"].version == "1.0"
    swap.commit()
    assert found(discovery(fable))["fable"].version == "2.0"
