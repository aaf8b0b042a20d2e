from __future__ import annotations

import os
import select
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from installing import install, install_core
from starlette.responses import JSONResponse

from noodle_upgrade_cli import lock as locks
from noodle_upgrade_cli import probing
from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_core.journal.sqlite import SqliteJournal

SWAPPER = '''
"""Swaps."""
from attrs import frozen
from noodle_upgrade_core import hookimpl, setting

@frozen(kw_only=True)
class Settings:
    depth: int = setting(3, env="NOODLE_ACME_DEPTH", ge=1, help="How deep.")
    password: str = setting("hunter2", secret=True)

class Swapper:
    """Swaps things."""
    settings = Settings
    after = ("audit",)
    def __init__(self, host):
        self.depth = host.settings.depth
    @hookimpl
    def discover(self):
        return ()
    @hookimpl
    def assess(self, step, context):
        return None
    @hookimpl
    def swap(self, steps, plan, context):
        return None
'''
AUDIT = """
from noodle_upgrade_core import hookimpl

class Audit:
    @hookimpl
    def observe(self, event):
        print(event)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two plugins that work, and the core's drivers."""
    site = tmp_path / "site"
    install_core(site)
    install(
        site,
        "acme-swapper",
        "2.1",
        entry_points="[noodle_upgrade.plugins]\nswapper = acme_swapper:Swapper\n",
        requires=("noodle-upgrade-core>=0.1,<0.2", "acme-base; python_version > '3'", "absent; extra == 'more'"),
        files={"acme_swapper.py": SWAPPER},
    )
    install(site, "acme-base", "0.5", files={"acme_base.py": "x = 1\n"})
    install(
        site,
        "acme-audit",
        entry_points="[noodle_upgrade.plugins]\naudit = acme_audit:Audit\n",
        files={"acme_audit.py": AUDIT},
    )
    monkeypatch.syspath_prepend(str(site))
    # Processes that this one starts see the same.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]))
    return site


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "noodle.toml"
    file.write_text('[stack]\nplugins = ["swapper", "audit"]\ndecider = "unanimous"\nstrategy = "gradual"\n')
    return file


def broken(site: Path, name: str, code: str, **more: object) -> None:
    module = name.replace("-", "_")
    install(
        site, f"bad-{name}", entry_points=f"[noodle_upgrade.plugins]\n{name} = {module}_bad:Plugin\n",
        files={f"{module}_bad.py": code}, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_list_of_plugins_imports_none(noodle, site):
    broken(site, "explodes", "raise SystemExit(3)\n")
    ran = noodle("plugins", "list", "--json")
    assert ran.code == 0
    rows = {row["name"]: row for row in ran.json["plugins"]}
    assert rows["swapper"]["version"] == "2.1"
    assert "0.1" in rows["swapper"]["requires_core"]
    assert "gradual" in [row["name"] for row in ran.json["drivers"]["strategies"]]
    assert not {"acme_swapper", "acme_audit", "explodes_bad"} & set(sys.modules)
    assert "swapper" in noodle("plugins", "list").out


def test_a_list_says_who_takes_part(noodle, site, file):
    file.write_text('[runtime_upgrade.plugins]\ndisabled = ["Audit"]\n')
    rows = {row["name"]: row for row in noodle("plugins", "list", "--json").json["plugins"]}
    assert (rows["swapper"]["takes_part"], rows["audit"]["takes_part"]) == (True, False)


def test_a_plugin_for_another_core_takes_no_part_and_the_list_says_why(noodle, site):
    broken(site, "newer", "class Plugin: pass\n", requires=("noodle-upgrade-core>=9",))
    rows = {row["name"]: row for row in noodle("plugins", "list", "--json").json["plugins"]}
    assert (rows["newer"]["requires_core"], rows["newer"]["takes_part"]) == (">=9", False)
    assert rows["swapper"]["takes_part"] is True
    (line,) = [line for line in noodle("plugins", "list").out.splitlines() if line.startswith("newer ")]
    assert line.rstrip().endswith("no: this core is 0.1.0")


def test_info_shows_hooks_order_and_settings(noodle, site):
    ran = noodle("plugins", "info", "swapper")
    assert ran.code == 0
    for words in ("Swaps things.", "acme-swapper 2.1", "discover, assess, swap", "audit", "depth", "NOODLE_ACME_DEPTH"):
        assert words in ran.out
    assert "acme_swapper" not in sys.modules


def test_info_of_a_plugin_that_is_not_there_suggests_one(noodle, site):
    ran = noodle("plugins", "info", "swaper")
    assert ran.code == 2
    assert "Did you mean 'swapper'?" in ran.err


CIRCULAR = """
from noodle_upgrade_core import hookimpl

class Plugin:
    after = ("{}",)
    @hookimpl
    def observe(self): pass
"""
DRIVERS = """
class Odd: pass

class Needy:
    def __init__(self, x): pass
    def observe(self): pass
"""
CRASHES = {
    "raises": ("raise RuntimeError('no')\n", "RuntimeError: no"),
    "exits": ("raise SystemExit(3)\n", "SystemExit"),
    "leaves": ("import os\nos._exit(7)\n", "exit code 7"),
    "dies": ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n", "signal 11"),
    "prints": ("print('x' * 5000)\nclass Plugin: pass\n", ""),
    "misspells": (
        "from noodle_upgrade_core import hookimpl\nclass Plugin:\n    @hookimpl\n    def validat(self): pass\n",
        "validat",
    ),
}


def test_every_broken_plugin_is_named_by_the_doctor_and_the_others_are_checked(noodle, site):
    for name, (code, _) in CRASHES.items():
        broken(site, name, code)
    ran = noodle("plugins", "doctor", "--json")
    assert ran.code == 6
    rows = {row["name"]: row for row in ran.json["plugins"]}
    for name, (_, words) in CRASHES.items():
        assert rows[name]["error"] is not None, name
        assert words in rows[name]["error"]["message"]
    assert rows["swapper"]["error"] is None
    assert rows["audit"]["error"] is None


def test_a_plugin_that_works_is_shown_as_such(noodle, site):
    ran = noodle("plugins", "doctor", "swapper")
    assert ran.code == 0
    assert "works" in ran.out


HANGS = """
import pathlib, subprocess, time
started = subprocess.Popen(["sleep", "300"])
pathlib.Path(__file__).with_name("started").write_text(str(started.pid))
while True:
    time.sleep(60)
"""


def ends(pid: int) -> bool:
    """Wait for a process that is no child of ours."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([process], [], [], 10)[0])
    finally:
        os.close(process)


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs Linux")
def test_a_plugin_that_hangs_is_named_and_its_process_ends_with_all_that_it_started(site):
    broken(site, "hangs", HANGS)
    with pytest.raises(probing.PluginTimeoutError, match="hangs did not load"):
        probing.examined([], only=("hangs",), limit=5.0)
    assert ends(int((site / "started").read_text()))


def test_a_plugin_for_another_core_is_named_with_what_it_needs(noodle, site):
    broken(site, "newer", "class Plugin: pass\n", requires=("noodle-upgrade-core>=7",))
    ran = noodle("plugins", "doctor", "newer", "--json")
    assert ran.code == 6
    assert ran.json["plugins"][0]["error"]["code"] == "plugin.incompatible"


# --- drivers of third parties -----------------------------------------------------------------------------------------

CAREFUL = """
import print_nothing  # what it imports is there as well

class Careful:
    \"\"\"Small shares first.\"\"\"
    def __init__(self, bake=60.0): pass
    def rollout(self, plan): yield
"""
BAD_DRIVERS = {
    # the group, what is in its module, what is said of it
    "odd": ("strategies", "class Odd: pass\nthing = Odd\n", "has no rollout"),
    "needy": ("judges", "class thing:\n    def __init__(self, x): pass\n    def observe(self): pass\n", "needs more"),
    "raising": ("deciders", "raise RuntimeError('no')\n", "RuntimeError: no"),
    "vanishing": ("engines", "import os\nos._exit(7)\n", "exit code 7"),
    "unmade": ("servers", "thing = 7\n", "not a class"),
    "narrow": ("sources", "class thing:\n    def __init__(self): pass\n    def fetch(self): pass\n"
               "    def versions(self): pass\n", "store"),
    "plain": ("commands", "def thing(): pass\n", "click command"),
    "hollow": ("journals", "class thing:\n    def __init__(self, path): pass\n", "has no open"),
}  # fmt: skip


@pytest.fixture
def careful(site: Path) -> Path:
    """A third party's distribution with two drivers."""
    install(
        site,
        "acme-upgrades",
        "1.0.0",
        entry_points="[noodle_upgrade.strategies]\ncareful = acme_upgrades:Careful\nslow = acme_upgrades:Careful\n",
        files={"acme_upgrades.py": CAREFUL, "print_nothing.py": ""},
    )
    return site


def bad_driver(site: Path, name: str, group: str, code: str, *, distribution: str = "") -> None:
    module = f"{(distribution or name).replace('-', '_')}_driver"
    points = f"[noodle_upgrade.{group}]\n{name} = {module}:thing\n"
    install(site, distribution or f"bad-{name}", entry_points=points, files={f"{module}.py": code})


@pytest.mark.parametrize(
    ("name", "drivers"),
    [
        ("careful", ["careful"]),
        ("strategies:careful", ["careful"]),
        ("Acme_Upgrades", ["careful", "slow"]),
        ("sqlite", ["sqlite"]),
    ],
)
def test_info_describes_a_driver_by_its_name_or_its_distributions(noodle, careful, name, drivers):
    ran = noodle("plugins", "info", name, "--json")
    assert ran.code == 0, ran
    assert ran.json["plugins"] == []
    assert [row["name"] for row in ran.json["drivers"]] == drivers
    assert "acme_upgrades" not in sys.modules


def test_info_of_a_driver_says_where_it_is_from_and_what_it_takes(noodle, careful):
    out = noodle("plugins", "info", "careful").out
    for words in ("Small shares first.", "strategies", "acme-upgrades 1.0.0", "acme_upgrades:Careful", "bake=60.0"):
        assert words in out


def test_info_of_a_distribution_describes_its_plugins_and_drivers(noodle, site):
    install(
        site, "acme-both",
        entry_points="[noodle_upgrade.plugins]\nboth = acme_audit:Audit\n"
        "[noodle_upgrade.strategies]\nboth-ways = acme_both:Careful\n",
        files={"acme_both.py": CAREFUL, "print_nothing.py": ""},
    )  # fmt: skip
    ran = noodle("plugins", "info", "acme-both", "--json")
    assert ([row["name"] for row in ran.json["plugins"]], ran.code) == (["both"], 0)
    assert [row["name"] for row in ran.json["drivers"]] == ["both-ways"]


@pytest.mark.parametrize(("name", "meant"), [("carefull", "careful"), ("acme-upgrade", "acme-upgrades")])
def test_info_of_a_driver_that_is_not_there_suggests_one(noodle, careful, name, meant):
    ran = noodle("plugins", "info", name)
    assert ran.code == 2
    assert f"Did you mean {meant!r}?" in ran.err


def test_the_doctor_loads_every_driver_and_those_that_work_are_well(noodle, careful):
    ran = noodle("plugins", "doctor", "--json")
    assert ran.code == 0, ran.out
    rows = {(row["group"], row["name"]): row for row in ran.json["drivers"]}
    assert {("strategies", "careful"), ("strategies", "gradual"), ("journals", "sqlite"), ("sources", "wheel")} <= set(
        rows
    )
    assert all(row["error"] is None for row in rows.values())
    assert "careful" in noodle("plugins", "doctor").out


def test_the_doctor_names_every_driver_that_does_not_work_and_the_others_are_checked(noodle, careful):
    for name, (group, code, _) in BAD_DRIVERS.items():
        bad_driver(careful, name, group, code)
    ran = noodle("plugins", "doctor", "--json")
    assert ran.code == 6
    rows = {row["name"]: row for row in ran.json["drivers"]}
    for name, (_, _, words) in BAD_DRIVERS.items():
        assert rows[name]["error"] is not None, name
        assert words in f"{rows[name]['error']['message']} {rows[name]['error']['hint']}"
    assert rows["careful"]["error"] is None
    assert ran.json["ok"] is False


def test_one_driver_that_ends_the_process_does_not_hide_the_others_of_its_distribution(noodle, site):
    points = "[noodle_upgrade.strategies]\na = acme_two_a:thing\nb = acme_two_b:Careful\n"
    files = {"acme_two_a.py": "import os\nos._exit(7)\n", "acme_two_b.py": CAREFUL, "print_nothing.py": ""}
    install(site, "acme-two", entry_points=points, files=files)
    rows = {row["name"]: row for row in noodle("plugins", "doctor", "acme-two", "--json").json["drivers"]}
    assert "exit code 7" in rows["a"]["error"]["message"]
    assert rows["b"]["error"] is None


def test_a_name_that_two_distributions_claim_is_reported_with_both(noodle, careful):
    bad_driver(careful, "careful", "strategies", CAREFUL, distribution="acme-rival")
    ran = noodle("plugins", "doctor", "strategies:careful", "--json")
    assert ran.code == 6
    (row,) = ran.json["drivers"]
    assert "claimed more than once: by acme-rival 1.0" in row["error"]["message"]
    assert "Uninstall all but one of them." in noodle("plugins", "doctor", "careful").out
    # The list says the same in one line, and goes on.
    assert "acme-rival, acme-upgrades" in noodle("plugins", "list").out


def test_a_driver_that_hangs_is_given_up_after_its_time(site):
    bad_driver(site, "hangs", "judges", HANGS)
    (row,) = probing.examined_drivers([("judges", "hangs")], limit=2.0)
    assert row["error"]["code"] == "plugin.timeout"


def test_a_stack_whose_driver_ends_the_process_does_not_fit(noodle, site, file):
    bad_driver(site, "vanishing", "strategies", "import os\nos._exit(7)\n")
    file.write_text('[stack]\nplugins = ["swapper"]\nstrategy = "vanishing"\n')
    ran = noodle("stack", "check", file)
    assert ran.code == 6
    assert "exit code 7" in " ".join(ran.out.split())


def test_a_stack_that_requires_a_plugin_that_is_not_installed_does_not_fit(noodle, site, file):
    file.write_text('[runtime_upgrade.plugins]\nrequired = ["swaper"]\n')
    ran = noodle("stack", "check", file)
    assert ran.code == 6
    assert "Did you mean 'swapper'?" in " ".join(ran.out.split())


def test_a_stack_that_fits_says_so_in_its_order(noodle, site, file):
    ran = noodle("stack", "check", file, "--json")
    assert ran.code == 0, ran.out
    assert [row["name"] for row in ran.json["plugins"]] == ["audit", "swapper"]
    assert {"group": "deciders", "name": "unanimous"}.items() <= ran.json["drivers"][0].items()
    assert f"{file} fits." in noodle("stack", "check", file).out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[stack]\nplugins = ["swaper"]\n', "Did you mean 'swapper'?"),
        ('[stack]\nplugins = ["swapper"]\nstrategy = "gradul"\n', "No strategy 'gradul'"),
        ('[stack]\nplugins = ["swapper"]\n[swapper]\ndepth = 0\n', "swapper.depth"),
        ('[stack]\nplugins = ["swapper"]\n[swapper]\ndeph = 1\n', "Did you mean 'depth'?"),
        ('[stack]\nplugin = ["swapper"]\n', "Did you mean 'plugins'?"),
        ("[[[", "line 1"),
        ('[stack]\nplugins = ["leaves"]\n', "plugins doctor"),
        ('[stack]\nplugins = ["first", "second"]\n', "circular"),
        ('[stack]\nplugins = ["swapper"]\ndecider = "gradual"\n', "No decider"),
    ],
)
def test_a_stack_that_does_not_fit_ends_with_6_and_says_why(noodle, site, file, text, words):
    broken(site, "leaves", "import os\nos._exit(7)\n")
    broken(site, "first", CIRCULAR.format("second"))
    broken(site, "second", CIRCULAR.format("first"))
    file.write_text(text)
    ran = noodle("stack", "check", file)
    assert ran.code == 6
    assert words in " ".join(ran.out.split())
    assert f"{file} does not fit." in ran.out


def test_a_driver_that_is_not_what_it_should_be_does_not_fit(noodle, site, file):
    points = (
        "[noodle_upgrade.strategies]\nodd = acme_drivers:Odd\n[noodle_upgrade.judges]\nneedy = acme_drivers:Needy\n"
    )
    install(site, "acme-drivers", entry_points=points, files={"acme_drivers.py": DRIVERS})
    file.write_text('[stack]\nplugins = ["swapper"]\nstrategy = "odd"\njudge = "needy"\n')
    out = " ".join(noodle("stack", "check", file).out.split())
    assert "acme_drivers:Odd has no rollout" in out
    assert "needs more" in out


def test_a_stack_that_could_never_upgrade_anything_is_a_warning(noodle, site, file):
    file.write_text('[stack]\nplugins = ["audit"]\n')
    ran = noodle("stack", "check", file)
    assert ran.code == 0
    assert "every upgrade is refused" in " ".join(ran.out.split())


def test_a_lock_is_the_same_twice_and_what_was_locked_fits(noodle, site, file, tmp_path):
    assert noodle("stack", "lock", file).code == 0
    first = (tmp_path / "noodle.lock").read_text()
    ran = noodle("stack", "lock", file, "--requirements", tmp_path / "req.txt")
    assert ran.code == 0
    assert (tmp_path / "noodle.lock").read_text() == first
    lock = tomllib.loads(first)
    assert [row["name"] for row in lock["plugin"]] == ["audit", "swapper"]
    names = {row["name"]: row for row in lock["distribution"]}
    assert {"acme-swapper", "acme-audit", "acme-base", "noodle-upgrade-core"} <= set(names)
    assert names["acme-base"]["record"].startswith("sha256:")
    assert "acme-base==0.5\n" in (tmp_path / "req.txt").read_text()
    ran = noodle("stack", "check", file, "--locked", "--json")
    assert [f for f in ran.json["findings"] if f["code"] == "stack.lock"] == []
    assert ran.code == 0


def test_what_is_locked_brings_noodle_and_noodle_run_as_well(noodle, site, file, tmp_path):
    for name, needs in (("noodle-upgrade-server", ("acme-listener",)), ("noodle-upgrade-cli", ("acme-colours",))):
        command = "[noodle_upgrade.commands]\nrun = acme_run:run\n" if "server" in name else ""
        install(site, name, "0.1.0", requires=needs, entry_points=command, files={f"{name[15:]}_of_acme.py": ""})
    install(site, "acme-listener", "3.0")
    install(site, "acme-colours", "4.0")
    ran = noodle("stack", "lock", file, "--requirements", tmp_path / "req.txt")
    assert ran.code == 0, ran
    lines = (tmp_path / "req.txt").read_text().splitlines()
    assert {"noodle-upgrade-cli==0.1.0", "noodle-upgrade-server==0.1.0"} <= set(lines)
    assert {"acme-listener==3.0", "acme-colours==4.0"} <= set(lines)
    assert len(lines) == len(set(lines))
    assert noodle("stack", "check", file, "--locked").code == 0


def test_without_the_server_only_what_is_there_is_locked(noodle, site, file, monkeypatch):
    real = locks.distribution

    def without(name: str):
        if name.startswith(("noodle-upgrade-server", "noodle-upgrade-cli")):
            raise locks.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(locks, "distribution", without)
    monkeypatch.setattr(locks, "foreign_commands", dict)
    assert noodle("stack", "lock", file).code == 0
    lock = tomllib.loads(file.with_suffix(".lock").read_text())
    assert not {"noodle-upgrade-server", "noodle-upgrade-cli"} & {row["name"] for row in lock["distribution"]}


def change(site: Path, what: str) -> None:
    if what == "file":
        (site / "acme_base.py").write_text("x = 2\n")
    elif what == "gone":
        (site / "acme_base.py").unlink()
    elif what == "version":
        (site / "acme_base-0.5.dist-info").rename(site / "acme_base-0.6.dist-info")
        metadata = site / "acme_base-0.6.dist-info" / "METADATA"
        metadata.write_text(metadata.read_text().replace("0.5", "0.6"))
    elif what == "record":
        record = site / "acme_base-0.5.dist-info" / "RECORD"
        record.write_text(record.read_text() + "acme_more.py,sha256=x,1\n")
    elif what == "installer":
        (site / "acme_base-0.5.dist-info" / "INSTALLER").write_text("somebody else\n")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("file", "acme_base.py was changed after it was installed"),
        ("gone", "acme_base.py cannot be compared"),
        ("version", "its version is 0.6, locked is 0.5"),
        ("record", "its files are others"),
    ],
)
def test_whatever_was_changed_after_the_lock_is_found(noodle, site, file, what, words):
    assert noodle("stack", "lock", file).code == 0
    change(site, what)
    ran = noodle("stack", "check", file, "--locked")
    assert ran.code == 6
    assert words in " ".join(ran.out.split())


def test_who_installed_a_wheel_does_not_matter(noodle, site, file):
    assert noodle("stack", "lock", file).code == 0
    change(site, "installer")
    assert noodle("stack", "check", file, "--locked").code == 0


def test_a_plugin_more_or_less_than_locked_is_found(noodle, site, file):
    assert noodle("stack", "lock", file).code == 0
    file.write_text('[stack]\nplugins = ["swapper"]\ndecider = "unanimous"\nstrategy = "immediate"\n')
    out = " ".join(noodle("stack", "check", file, "--locked").out.split())
    assert "audit: the plugin is locked, and is not there" in out
    assert "strategies: immediate: the driver takes part, and is not locked" in out


def test_a_stack_that_does_not_fit_is_not_locked(noodle, site, file, tmp_path):
    file.write_text('[stack]\nplugins = ["nothing"]\n')
    assert noodle("stack", "lock", file).code == 6
    assert not (tmp_path / "noodle.lock").exists()


@pytest.mark.parametrize("content", [b"", b"\xff", b"[[[", b"lock_version = 2", b"lock_version = 1\nplugin = 3", None])
def test_a_lock_that_is_none_is_an_error_that_names_it(tmp_path, content):
    if content is not None:
        (tmp_path / "noodle.lock").write_bytes(content)
    with pytest.raises(SettingsError, match=r"noodle\.lock"):
        locks.read_lock(tmp_path / "noodle.lock")


def test_a_missing_lock_ends_with_2_and_says_how_to_make_it(noodle, site, file):
    ran = noodle("stack", "check", file, "--locked")
    assert ran.code == 2
    assert "noodle stack lock FILE --output" in ran.err


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None)
@given(st.lists(st.fixed_dictionaries({"name": texts, "version": texts}), max_size=4), texts)
def test_a_lock_reads_as_it_was_written(rows, stack):
    lock = {"lock_version": 1, "stack": stack, "plugin": rows}
    read = tomllib.loads(locks.render(lock))
    assert read.get("plugin", []) == rows
    assert read["stack"] == stack


def test_config_shows_every_value_with_its_origin_and_hides_secrets(noodle, site, file, monkeypatch):
    file.write_text('[runtime_upgrade]\nupgrade_timeout = 12.0\n[swapper]\npassword = "s3cret"\n')
    monkeypatch.setenv("NOODLE_ACME_DEPTH", "9")
    ran = noodle("config", "show", "--json")
    rows = {row["key"]: row for row in ran.json["settings"]}
    assert rows["runtime_upgrade.upgrade_timeout"] == rows["runtime_upgrade.upgrade_timeout"] | {
        "value": 12.0,
        "origin": "file noodle.toml",
    }
    assert rows["runtime_upgrade.enabled"]["origin"] == "default"
    assert (rows["swapper.depth"]["value"], rows["swapper.depth"]["origin"]) == (9, "NOODLE_ACME_DEPTH")
    assert "s3cret" not in ran.out
    assert "***" in noodle("config", "show", "swapper").out
    assert [row["key"] for row in noodle("config", "show", "--changed", "--json").json["settings"]] == [
        "runtime_upgrade.upgrade_timeout", "swapper.depth", "swapper.password"
    ]  # fmt: skip


def test_config_check_lists_all_that_is_wrong_at_once(noodle, site, file):
    file.write_text('[runtime_upgrade]\nenabeld = true\nupgrade_timeout = "x"\n[swapper]\ndepth = 0\n')
    ran = noodle("config", "check", file)
    assert ran.code == 2
    for words in ("enabeld", "Did you mean 'enabled'?", "upgrade_timeout", "swapper.depth"):
        assert words in ran.err
    ran = noodle("config", "check", file, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "settings.invalid")
    assert len(ran.json["error"]["details"]["problems"]) == 3


def test_config_check_warns_of_what_has_no_effect(noodle, site, file):
    file.write_text("[compiler]\nx = 1\n")
    ran = noodle("config", "check", file)
    assert ran.code == 0
    assert "noodle-upgrade-compiler" in " ".join(ran.out.split())


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('[stack]\nplugins = ["swaper", "audit"]\n', "stack.plugins", "Did you mean 'swapper'?"),
        ('[runtime_upgrade.plugins]\nenabled = ["swaper"]\n', "runtime_upgrade.plugins.enabled", "'swapper'?"),
        ('[runtime_upgrade.plugins]\nrequired = ["swaper"]\n', "runtime_upgrade.plugins.required", "'swapper'?"),
        ('[runtime_upgrade.plugins]\ndisabled = ["swaper"]\n', "runtime_upgrade.plugins.disabled", "'swapper'?"),
    ],
)
def test_config_check_warns_of_a_plugin_that_is_not_installed(noodle, site, file, text, key, words):
    file.write_text(text)
    ran = noodle("config", "check", file)
    assert ran.code == 0, ran
    shown = " ".join(ran.out.split())
    assert words in shown
    assert "1 file can be used; 1 warning." in shown
    (problem,) = noodle("config", "check", file, "--json").json["problems"]
    assert (problem["key"], problem["severity"]) == (key, "warning")
    assert problem["origin"].startswith("file ")
    assert "not installed" in problem["problem"]


@pytest.mark.parametrize(
    ("text", "key", "words"),
    [
        ('[stack]\nstrategy = "gradul"\n', "stack.strategy", "Did you mean 'gradual'?"),
        ('[stack]\ndecider = "gradual"\n', "stack.decider", "Install the plugin that brings this decider."),
        ('[runtime_upgrade.drivers]\njudge = "kilswitch"\n', "runtime_upgrade.drivers.judge", "'killswitch'?"),
        ('[runtime_upgrade.drivers]\njournal = "sqlit"\n', "runtime_upgrade.drivers.journal", "'sqlite'?"),
        ('[runtime_upgrade.sources]\norder = ["weel"]\n', "runtime_upgrade.sources.order", "'wheel'?"),
    ],
)
def test_config_check_refuses_a_driver_that_is_not_installed(noodle, site, file, text, key, words):
    file.write_text(text)
    ran = noodle("config", "check", file)
    assert ran.code == 2, ran
    assert "1 setting cannot be used" in ran.err
    assert f"{key} (file " in ran.err
    assert words in ran.err
    ran = noodle("config", "check", file, "--json")
    assert (ran.code, ran.json["error"]["code"]) == (2, "settings.invalid")
    (problem,) = ran.json["error"]["details"]["problems"]
    assert (problem["key"], problem["severity"]) == (key, "error")
    assert "not installed" in problem["problem"]


def test_config_show_shows_every_setting_also_where_a_driver_is_not_installed(noodle, site, file):
    file.write_text('[stack]\ndecider = "unanimos"\n')
    ran = noodle("config", "show", "stack.decider")
    assert ran.code == 0, ran
    assert "unanimos" in ran.out
    assert "Did you mean 'unanimous'?" in ran.err


def test_config_check_counts_a_plugin_that_cannot_be_loaded_among_its_warnings(noodle, site, file):
    broken(site, "explodes", "raise RuntimeError('no')\n")
    file.write_text("")
    (problem,) = noodle("config", "check", file, "--json").json["problems"]
    assert problem["key"] == "explodes"
    assert "RuntimeError: no" in problem["problem"]


def test_config_check_says_nothing_of_drivers_and_plugins_that_are_there_or_switched_off(noodle, site, file):
    file.write_text(
        '[stack]\nplugins = ["swapper"]\n[runtime_upgrade.plugins]\ndisabled = ["telemetry"]\n'
        '[runtime_upgrade.drivers]\ndecider = "unanimous"\n'
    )
    ran = noodle("config", "check", file)
    assert "1 file can be used; 0 warnings." in ran.out


def test_config_check_imports_no_driver(noodle, site, file):
    bad_driver(site, "vanishing", "strategies", "import os\nos._exit(7)\n")
    file.write_text('[stack]\nplugins = ["swapper"]\nstrategy = "vanishing"\n')
    assert "0 warnings" in noodle("config", "check", file).out


def test_config_check_of_a_file_that_is_not_there_names_it(noodle, site):
    ran = noodle("config", "check", "nowhere.toml")
    assert ran.code == 2
    assert "nowhere.toml" in ran.err


def test_doctor_without_a_journal_says_where_it_looked(noodle, site):
    ran = noodle("doctor")
    assert ran.code == 2
    assert "There is no journal in .noodle" in ran.err


def test_doctor_reads_the_files_of_a_stopped_program_and_changes_none(noodle, site, tmp_path):
    state = tmp_path / ".noodle"
    state.mkdir()
    with SqliteJournal(state / "journal.db") as journal:
        journal.acquire_lease()
        journal.observe_active("greeter", "1.0")
    before = (state / "journal.db").read_bytes()
    ran = noodle("doctor")
    assert ran.code == 0, ran
    assert "state directory .noodle: nothing is wrong." in ran.out
    assert (state / "journal.db").read_bytes() == before
    assert noodle("doctor", "--json").json == {"ok": True, "checked": "state directory .noodle", "findings": []}


def test_doctor_reports_a_damaged_journal(noodle, site, tmp_path):
    (tmp_path / ".noodle").mkdir()
    (tmp_path / ".noodle" / "journal.db").write_bytes(b"SQLite format 3\x00" + b"nonsense" * 1000)
    ran = noodle("doctor", "--json")
    assert ran.code == 6
    assert ran.json["findings"][0]["code"].startswith("journal.")


def test_doctor_asks_a_running_program(noodle, site, program):
    finding = {
        "severity": "error",
        "code": "invariant.i3",
        "message": "Two pointers.",
        "subject": "greeter",
        "hint": "",
    }
    program.doctor = [finding]
    ran = noodle("doctor")
    assert ran.code == 6
    assert "Two pointers." in ran.out
    assert "running program" in ran.out
    program.answers["/v1/doctor"] = lambda: JSONResponse({"findings": []})
    assert noodle("doctor").code == 0
