import importlib.metadata
import os
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from noodle_upgrade_core.drivers import GROUPS, DriverInfo, Drivers
from noodle_upgrade_core.errors import (
    DriverUnknownError,
    InvalidRequestError,
    PluginBrokenError,
    PluginTimeoutError,
    SettingsError,
)
from noodle_upgrade_core.plugins.installed import Catalogue, canonical
from noodle_upgrade_core.strategies import Gradual, Immediate
from tests.unit.environments import Environment

STRATEGIES = "noodle_upgrade.strategies"


@pytest.fixture
def env(tmp_path):
    environment = Environment(tmp_path / "site")
    yield environment
    environment.close()


@pytest.fixture
def drivers(env):
    return Drivers(catalogue=Catalogue([str(env.folder)]))


def strategies(env, distribution="acme", /, version="1.0", **named):
    return env.install(distribution, version, points={STRATEGIES: named})


# --- hostile -----------------------------------------------------------------------------------------------------


def test_an_unknown_name_lists_what_is_installed_and_what_was_meant(env, drivers):
    strategies(env, canary="m:C", immediate="m:I")
    with pytest.raises(DriverUnknownError) as caught:
        drivers.get("strategies", "canry")
    assert caught.value.message == "no strategy 'canry'; installed: canary, immediate."
    assert caught.value.hint == "Did you mean 'canary'?"
    assert caught.value.details["installed"] == ["canary", "immediate"]


def test_a_group_without_drivers_says_so(drivers):
    with pytest.raises(DriverUnknownError, match="no engine 'patch'; installed: none"):
        drivers.get("engines", "patch")


def test_a_group_that_does_not_exist_is_refused_by_name(drivers):
    for ask in (drivers.names, lambda g: drivers.get(g, "x"), lambda g: drivers.info(g, "x")):
        with pytest.raises(DriverUnknownError, match="no group of drivers 'strategy'"):
            ask("strategy")
    with pytest.raises(DriverUnknownError, match="'strategy'"):
        Drivers(extra={"strategy": {}})


def test_a_name_claimed_by_two_distributions_is_refused_naming_both(env, drivers):
    env.module("two_claims", "class A: pass")
    strategies(env, "acme-one", careful="two_claims:A")
    strategies(env, "other-two", "2.0", careful="two_claims:A")
    with pytest.raises(PluginBrokenError) as caught:
        drivers.get("strategies", "careful")
    assert "acme-one 1.0" in caught.value.message
    assert "other-two 2.0" in caught.value.message
    assert not env.imported("two_claims")
    assert drivers.names("strategies") == ("careful",)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module_here", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("assert False, 'not here'", "AssertionError: not here"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("Other = 1", "has no attribute 'Careful'"),
        ("x = (", "SyntaxError"),
        ("class E(Exception):\n    def __str__(self): raise ValueError\nraise E", "its message cannot be printed"),
    ],
)
def test_a_driver_that_cannot_be_imported_is_a_typed_error_with_its_cause(env, drivers, source, said):
    env.module("broken_driver", source)
    strategies(env, careful="broken_driver:Careful")
    with pytest.raises(PluginBrokenError) as caught:
        drivers.get("strategies", "careful")
    assert said in caught.value.message
    assert "acme" in caught.value.message
    assert caught.value.__cause__ is not None


def test_a_driver_that_hangs_at_import_is_left_behind_and_named(env, drivers, monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.drivers._LOAD_SECONDS", 0.2)
    release = threading.Event()
    monkeypatch.setattr(sys, "noodle_release", release, raising=False)
    env.module("hanging_driver", "import sys\nsys.noodle_release.wait()\nclass Careful: pass")
    strategies(env, careful="hanging_driver:Careful")
    with pytest.raises(PluginTimeoutError, match="'acme' was still busy in the import of its strategy 'careful'"):
        drivers.get("strategies", "careful")
    release.set()
    assert drivers.get("strategies", "careful").__name__ == "Careful"


def test_a_wrong_keyword_names_the_parameter_and_those_accepted():
    drivers = Drivers(extra={"strategies": {"gradual": Gradual}})
    with pytest.raises(InvalidRequestError) as caught:
        drivers.make("strategies", "gradual", percentag=5)
    assert caught.value.message == "the strategy 'gradual' has no parameter 'percentag'."
    assert caught.value.hint == "Did you mean 'percentage'? It takes: percentage, bake, require_evidence."
    assert caught.value.details == {"unknown": ["percentag"], "accepted": ["percentage", "bake", "require_evidence"]}


def test_a_keyword_that_is_missing_is_named():
    class Needs:
        def __init__(self, *, path):
            self.path = path

    drivers = Drivers(extra={"journals": {"needs": Needs}})
    with pytest.raises(
        InvalidRequestError, match=r"the journal 'needs' needs more: missing a required .*argument: 'path'"
    ):
        drivers.make("journals", "needs")


def test_a_value_that_the_driver_refuses_stays_its_own_typed_error():
    with pytest.raises(InvalidRequestError, match="bake must be a number of seconds"):
        Drivers(extra={"strategies": {"immediate": Immediate}}).make("strategies", "immediate", bake=-1)


def _refuse(error):
    def factory(**_):
        raise error

    return factory


def test_what_a_constructor_raises_becomes_typed_and_keeps_its_cause():
    for error in (TypeError("deep inside"), SystemExit(2), OSError("disk")):
        drivers = Drivers(extra={"judges": {"odd": _refuse(error)}})
        with pytest.raises(PluginBrokenError, match="The judge 'odd' could not be made") as caught:
            drivers.make("judges", "odd", ratio=2)
        assert caught.value.__cause__ is error
    with pytest.raises(SettingsError):
        Drivers(extra={"judges": {"odd": _refuse(SettingsError("no"))}}).make("judges", "odd")


def test_a_driver_that_cannot_be_called_cannot_be_made():
    with pytest.raises(PluginBrokenError, match="The decider 'odd' is int, not a class"):
        Drivers(extra={"deciders": {"odd": 3}}).make("deciders", "odd")


def test_denied_and_not_allowed_drivers_are_never_imported(env):
    env.module("never_imported", "raise RuntimeError")
    strategies(env, careful="never_imported:Careful", bold="never_imported:Bold")
    catalogue = Catalogue([str(env.folder)])
    for drivers in (
        Drivers(deny=["careful"], catalogue=catalogue),
        Drivers(deny=["strategies:careful"], catalogue=catalogue),
        Drivers(allow=["bold"], catalogue=catalogue),
    ):
        assert drivers.names("strategies") == ("bold",)
        with pytest.raises(DriverUnknownError, match="installed, but the settings do not allow it"):
            drivers.get("strategies", "careful")
    assert Drivers(deny=["engines:careful"], catalogue=catalogue).names("strategies") == ("bold", "careful")
    assert not env.imported("never_imported")
    denied_extra = Drivers(deny=["mine"], extra={"strategies": {"mine": Gradual}}, catalogue=catalogue)
    with pytest.raises(DriverUnknownError, match="do not allow it"):
        denied_extra.get("strategies", "mine")


# --- what works --------------------------------------------------------------------------------------------------


def test_an_installed_driver_is_found_described_and_made(env, drivers):
    env.module("good_driver", "class Box:\n    class Careful:\n        def __init__(self, bake=1): self.bake = bake\n")
    strategies(env, "acme-upgrades", "2.1", careful="good_driver:Box.Careful")
    assert drivers.info("strategies", "careful") == DriverInfo(
        name="careful", group="strategies", distribution="acme-upgrades", version="2.1", value="good_driver:Box.Careful"
    )
    assert drivers.names("strategies") == ("careful",)
    assert not env.imported("good_driver")
    assert drivers.make("strategies", "careful", bake=5).bake == 5
    assert isinstance(drivers.make("strategies", "careful"), drivers.get("strategies", "careful"))


def test_a_driver_of_the_program_itself_wins_over_an_installed_one(env):
    strategies(env, immediate="nowhere:Other")
    drivers = Drivers(extra={"strategies": {"immediate": Immediate}}, catalogue=Catalogue([str(env.folder)]))
    assert drivers.get("strategies", "immediate") is Immediate
    assert drivers.names("strategies") == ("immediate",)
    assert drivers.info("strategies", "immediate").value == "noodle_upgrade_core.strategies:Immediate"
    assert drivers.info("strategies", "immediate").distribution == ""


def test_drivers_are_a_value():
    assert Drivers(allow=["a"], extra={"judges": {"x": Gradual}}) == Drivers(
        allow=("a",), extra={"judges": {"x": Gradual}}
    )
    given = {"judges": {"x": Gradual}}
    drivers = Drivers(extra=given)
    given["judges"]["y"] = Immediate
    assert drivers.names("judges")[-1] == "x"


def test_every_group_has_a_full_name_and_a_word_for_one_of_it(drivers):
    for group, full in GROUPS.items():
        assert full == f"noodle_upgrade.{group}"
        with pytest.raises(DriverUnknownError, match=r"no \w+ 'nothing'; installed"):
            drivers.get(group, "nothing")


def test_loading_a_driver_leaves_no_cache_on_the_disk(env, tmp_path):
    env.module("cached_driver", "class Careful: pass")
    strategies(env, careful="cached_driver:Careful")
    code = "from noodle_upgrade_core.drivers import Drivers; Drivers().get('strategies', 'careful')"
    home = tmp_path / "home"
    home.mkdir()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home), "XDG_CACHE_HOME": str(home)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ)
    assert list(home.iterdir()) == []


def test_asking_for_names_imports_neither_stevedore_nor_the_standard_metadata():
    code = (
        "import sys; from noodle_upgrade_core.drivers import Drivers; Drivers().names('strategies');"
        "print([m for m in ('stevedore', 'importlib.metadata', 'packaging', 'cattrs') if m in sys.modules])"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run([sys.executable, "-c", code], check=True, env=environ, capture_output=True, text=True).stdout
    assert out.strip() == "[]"


# --- the catalogue -----------------------------------------------------------------------------------------------


def entries(folder, group=STRATEGIES):
    return [(e.name, e.value, e.distribution, e.version) for e in Catalogue([str(folder)]).entries(group)]


def test_the_catalogue_agrees_with_the_standard_library():
    for group in ("noodle_upgrade.strategies", "noodle_upgrade.plugins"):
        standard = {(e.name, e.value, canonical(e.dist.name)) for e in importlib.metadata.entry_points(group=group)}
        assert {(e.name, e.value, canonical(e.distribution)) for e in Catalogue().entries(group)} == standard


def test_comments_spaces_other_groups_and_extras_are_read_as_the_format_says(env):
    place = strategies(env)
    (place / "entry_points.txt").write_text(
        "[console_scripts]\nx = y:z\n[ noodle_upgrade.strategies ]\n# a = b:c\n; d = e:f\n\n  careful=m:C [fast]\nodd\n"
    )
    assert entries(env.folder) == [("careful", "m:C [fast]", "acme", "1.0")]


def test_a_damaged_distribution_hides_no_other(env):
    strategies(env, "acme-good", careful="m:C")
    broken = strategies(env, "acme-broken", bold="m:B")
    (broken / "entry_points.txt").write_bytes(b"\xff\xfe[noodle_upgrade.strategies\n\x00 = \n")
    (env.folder / "empty-1.0.dist-info").mkdir()
    (env.folder / "a_file-1.0.dist-info").write_text("not a folder")
    (env.folder / "~acme_left-1.0.dist-info").mkdir()
    (env.folder / "~acme_left-1.0.dist-info" / "entry_points.txt").write_text(f"[{STRATEGIES}]\nleft = m:L\n")
    assert entries(env.folder) == [("careful", "m:C", "acme-good", "1.0")]


def test_of_two_copies_of_a_distribution_only_the_first_on_the_path_counts(env, tmp_path):
    other = tmp_path / "other"
    strategies(env, "acme-one", "2.0", careful="new:C")
    env.install("Acme_One", "1.0", points={STRATEGIES: {"careful": "old:C", "gone": "old:G"}}, folder=other)
    found = Catalogue([str(env.folder), str(other)]).entries(STRATEGIES)
    assert [(e.name, e.value, e.version) for e in found] == [("careful", "new:C", "2.0")]


def test_a_distribution_in_a_zip_on_the_path_is_found(tmp_path):
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("acme_zip-3.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme-zip\nVersion: 3.0\n")
        made.writestr("acme_zip-3.0.dist-info/entry_points.txt", f"[{STRATEGIES}]\nzipped = m:Z\n")
    assert entries(archive) == [("zipped", "m:Z", "acme-zip", "3.0")]


def test_a_finder_that_brings_its_own_distributions_is_asked(env, monkeypatch):
    place = env.install("acme-found", points={STRATEGIES: {"found": "m:F"}}, folder=env.folder / "aside")

    class Finder:
        def find_spec(self, *_):
            return None

        def find_distributions(self, _context):
            return [importlib.metadata.PathDistribution(Path(place))]

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    assert "found" in Drivers().names("strategies")


def test_what_is_installed_or_removed_later_is_seen_at_once(env):
    catalogue = Catalogue([str(env.folder)])
    assert catalogue.entries(STRATEGIES) == ()
    place = strategies(env, careful="m:C")
    assert [e.name for e in catalogue.entries(STRATEGIES)] == ["careful"]
    for file in place.iterdir():
        file.unlink()
    place.rmdir()
    assert catalogue.entries(STRATEGIES) == ()


def test_two_changes_within_one_tick_of_the_folders_clock_are_both_seen(env):
    catalogue = Catalogue([str(env.folder)])
    tick = time.time_ns()
    for count, name in enumerate(("careful", "bold"), 1):
        strategies(env, f"acme-{name}", **{name: "m:C"})
        os.utime(env.folder, ns=(tick, tick))
        assert len(catalogue.entries(STRATEGIES)) == count


def test_an_unchanged_folder_is_read_once(env, monkeypatch):
    strategies(env, careful="m:C")
    os.utime(env.folder, (1_000_000_000, 1_000_000_000))
    catalogue = Catalogue([str(env.folder)])
    first = catalogue.entries(STRATEGIES)
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("read again"))
    assert catalogue.entries(STRATEGIES) == first
    monkeypatch.undo()
    os.utime(env.folder, (1_000_000_001, 1_000_000_001))
    strategies(env, "acme-more", bold="m:B")
    assert len(catalogue.entries(STRATEGIES)) == 2
