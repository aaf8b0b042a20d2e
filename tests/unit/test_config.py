import copy
import enum
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pytest
from attrs import frozen
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from noodle_upgrade_core.config import Settings, default_files, load_settings
from noodle_upgrade_core.config.sections import HotSwapSettings, PluginSettings, RuntimeUpgradeSettings
from noodle_upgrade_core.errors import SettingsError, UpgradeError
from noodle_upgrade_core.model import Severity, ValidationLevel
from noodle_upgrade_core.settings import Problem, setting

DOCUMENTS = Path(__file__).parent / "documents"


# --- classes such as plugins have --------------------------------------------------------------------------------


@frozen(kw_only=True)
class Integration:
    enabled: bool = setting(True, env="NOODLE_RUNTIME_UPGRADE_INTEGRATION")
    auto_sync: bool = setting(True, env="NOODLE_RUNTIME_UPGRADE_SYNC")
    sync_interval: float = setting(60.0, env="NOODLE_RUNTIME_UPGRADE_SYNC_INTERVAL", gt=0)
    max_concurrent_upgrades: int = setting(3, env="NOODLE_MAX_CONCURRENT_UPGRADES", ge=1)
    enable_runtime_coordination: bool = setting(True)
    enable_performance_monitoring: bool = setting(True)
    enable_error_recovery: bool = setting(True)


@frozen(kw_only=True)
class RuntimeComponents:
    auto_discovery: bool = setting(True)
    hot_swappable_default: bool = setting(True)
    critical_components: tuple[str, ...] = setting((), env="NOODLE_CRITICAL_COMPONENTS")


@frozen(kw_only=True)
class Coordination:
    upgrade_timeout: float = setting(30.0, env="NOODLE_RUNTIME_UPGRADE_TIMEOUT", gt=0)
    rollback_timeout: float = setting(60.0, gt=0)
    validation_level: ValidationLevel = setting(ValidationLevel.STRICT)


@frozen(kw_only=True)
class RuntimeSettings:
    upgrade_integration: Integration = Integration()
    components: RuntimeComponents = RuntimeComponents()
    coordination: Coordination = Coordination()


class Colour(enum.StrEnum):
    RED = "red"
    GREEN = "green"


@frozen(kw_only=True)
class Window:
    start: str = setting()
    end: str = setting()
    days: tuple[str, ...] = setting(("sunday",), choices=("sunday", "monday"))

    def __attrs_post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError("start and end are the same")


@frozen(kw_only=True)
class EverySettings:
    folder: Path = setting(Path("audit"), env="NOODLE_EVERY_FOLDER")
    mode: Literal["fast", "safe"] = setting("safe", env="NOODLE_EVERY_MODE")
    step: Literal[1, 2] = setting(1, env="NOODLE_EVERY_STEP")
    colour: Colour | None = setting(None, env=("NOODLE_EVERY_COLOUR", "NOODLE_EVERY_COLOR"))
    numbers: frozenset[int] = setting(frozenset(), env="NOODLE_EVERY_NUMBERS", ge=0)
    shares: Mapping[str, float] = setting(factory=dict, ge=0, le=1)
    windows: Mapping[str, Window] = setting(factory=lambda: {"night": Window(start="02:00", end="04:00")})
    extra: tuple[Window, ...] = setting(())
    anything: Any = setting(None)
    token: str = setting("", env="NOODLE_EVERY_TOKEN", secret=True)
    pin: int = setting(0, env="NOODLE_EVERY_PIN", secret=True, le=9999)

    def problems(self):
        if self.mode == "fast":
            yield Problem(key="mode", problem="is fast and not safe", hint="Say safe.")


RUNTIME = {"runtime": RuntimeSettings}
EVERY = {"every": EverySettings}


@pytest.fixture
def write(tmp_path):
    def written(name, text):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return written


def load(*files, **options):
    return load_settings(files, **{"environ": {}, "installed": (), **options})


def loaded(data, **options):
    return load(overrides=data, **options)


def refused(*files, **options):
    with pytest.raises(SettingsError) as caught:
        load(*files, **options)
    error = caught.value
    assert json.loads(json.dumps(error.details)) == error.details
    assert UpgradeError.from_wire(error.to_wire()).to_wire() == error.to_wire()
    assert error.details["problems"]
    return error


def only(error):
    (problem,) = error.details["problems"]
    return problem


def rows(settings):
    return {row.key: row for row in settings.explain()}


def environment_sh():
    text = (DOCUMENTS / "environment.sh").read_text()
    words = [shlex.split(line)[1] for line in text.splitlines() if line.startswith("export ")]
    return dict(word.split("=", 1) for word in words)


def leaves(value, key=""):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{key}.{name}" if key else name)
    else:
        yield key, value


# --- files that are no settings ----------------------------------------------------------------------------------

BAD_FILES = {
    "no object": ("a.json", "[1]", "is not an object", 0),
    "a bare number": ("a.json", "3", "is not an object", 0),
    "empty JSON": ("a.json", "", "is not JSON", 1),
    "half of JSON": ("a.json", '{\n"runtime_upgrade": {\n', "is not JSON", 3),
    "text after JSON": ("a.json", "{}\n{}", "is not JSON", 2),
    "a comment in JSON": ("a.json", "{ // no\n}", "is not JSON", 1),
    "NaN": ("a.json", '{"runtime_upgrade": {\n"upgrade_timeout": NaN}}', "must be a finite number", 2),
    "infinity": ("a.json", '{"runtime_upgrade": {"upgrade_timeout": -Infinity}}', "must be a finite number", 1),
    "a number that overflows": ("a.json", '{"compiler": {"x": 1e999}}', "must be a finite number", 1),
    "a number of 6000 digits": ("a.json", '{"compiler": {"x": ' + "1" * 6000 + "}}", "is not JSON", 0),
    "a key twice": ("a.json", '{"runtime_upgrade": {"enabled": false,\n"enabled": true}}', "has a key twice", 2),
    "a section twice": ("a.json", '{"compiler": {},\n\n"compiler": {}}', "has a key twice: 'compiler'", 3),
    "not UTF-8": ("a.json", b'{\n"compiler": "\xff"}', "is not UTF-8", 2),
    "UTF-16": ("a.toml", "a = 1".encode("utf-16"), "is not UTF-8", 1),
    "NUL in a string": ("a.json", '{"compiler": {"x": "\\u0000"}}', "NUL", 1),
    "half a surrogate pair": ("a.json", '{"compiler": {"x": "\\ud800"}}', "surrogate", 1),
    "half a surrogate pair in a key": ("a.json", '{"compiler": {"\\ud800": 1}}', "surrogate", 1),
    "deep JSON": ("a.json", '{"compiler": ' * 40 + "1" + "}" * 40, "nested too deep", 0),
    "very deep JSON": ("a.json", "[" * 400_000, "nested too deep", 0),
    "very deep objects": ("a.json", '{"a":' * 150_000, "nested too deep", 0),
    "very deep TOML": ("a.toml", "a = " + "[" * 400_000, "nested too deep", 0),
    "a dotted key of 300,000 parts": ("a.toml", "a." * 300_000 + "b = 1", "too many parts", 0),
    "more than 1 MiB": ("a.json", '{"compiler": {}}' + " " * (1 << 20), "larger than 1 MiB", 0),
    "half of TOML": ("a.toml", "[runtime_upgrade]\nenabled = ", "is not TOML", 2),
    "a TOML key twice": ("a.toml", "[compiler]\na = 1\na = 2\nb = 3", "is not TOML", 3),
    "a TOML infinity": ("a.toml", "[compiler]\na = inf", "must be a finite number", 2),
    "a TOML time": ("a.toml", "[compiler]\nstart = 02:00:00", "cannot be a time", 2),
    "JSON that is called TOML": ("a.toml", '{"compiler": {}}', "is not TOML", 1),
    "TOML that is called JSON": ("a.json", "[compiler]", "is not JSON", 1),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_file_that_cannot_be_settings_is_refused_with_its_name_and_line(name, write):
    file, text, said, line = BAD_FILES[name]
    path = write(file, text)
    error = refused(path)
    problem = only(error)
    assert said in problem["problem"]
    assert problem["origin"] == f"file {path}" + (f", line {line}" if line else "")
    assert problem["hint"] or "finite" in said or "surrogate" in said or "NUL" in said
    assert len(str(error)) < 500


def test_a_file_that_is_not_there_is_refused_by_name(tmp_path):
    assert "does not exist" in only(refused(tmp_path / "no.json"))["problem"]


def test_a_folder_is_no_settings_file(tmp_path):
    assert "cannot be read" in only(refused(tmp_path))["problem"]


def test_a_name_that_no_file_can_have_is_refused():
    assert "cannot be read" in only(refused("a\0b.json"))["problem"]


def test_a_device_without_an_end_is_refused_instead_of_read_for_ever():
    assert "larger than 1 MiB" in only(refused("/dev/zero"))["problem"]


def test_every_broken_file_and_every_wrong_value_is_told_at_once(write):
    one = write("one.json", "{")
    two = write("two.toml", "[runtime_upgrade]\nenabled = 1\nhot_swp = {}\n")
    error = refused(one, two, environ={"NOODLE_HOT_SWAP_ENABLED": "maybe"}, overrides={"stack.plugin": []})
    assert [problem["key"] for problem in error.details["problems"]] == [
        "",
        "runtime_upgrade.hot_swp",
        "runtime_upgrade.enabled",
        "runtime_upgrade.hot_swap.enabled",
        "stack.plugin",
    ]
    for words in ("one.json", "two.toml, line 2", "line 3", "NOODLE_HOT_SWAP_ENABLED", "argument"):
        assert words in str(error)


# --- keys and sections that nobody knows -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("runtime_upgrade.hot_swp", "hot_swap"),
        ("runtime_upgrade.hot_swap.enable", "enabled"),
        ("runtime_upgrade.Enabled", "enabled"),
        ("runtime_upgrade.swap_timeout", "runtime_upgrade.hot_swap.swap_timeout"),
        ("runtime_upgrad", "runtime_upgrade"),
        ("compilr", "compiler"),
        ("rollback", "runtime_upgrade.rollback"),
        ("stack.plugin", "plugins"),
    ],
)
def test_an_unknown_key_is_refused_with_the_one_that_was_meant(key, meant):
    problem = only(refused(overrides={key: {}}))
    assert problem["key"] == key
    assert problem["problem"] == "is not a setting"
    assert problem["hint"] == f"Did you mean {meant!r}?"
    assert problem["origin"] == "argument"


def test_an_unknown_key_unlike_any_other_is_refused_with_the_ones_there_are():
    assert "automatic" in only(refused(overrides={"runtime_upgrade.approval.zzz": 1}))["hint"]


def test_an_unknown_key_is_refused_with_the_line_that_it_stands_on(write):
    path = write("noodle.toml", "# settings\n[runtime_upgrade]\n\nhot_swp = 1\n")
    assert only(refused(path))["origin"] == f"file {path}, line 4"


def test_a_key_that_stands_on_two_lines_gets_no_line_rather_than_a_wrong_one(write):
    path = write("a.json", '{"runtime_upgrade": {"hot_swap": {\n"enabled": 3},\n"rollback": {"enabled": true}}}')
    assert only(refused(path))["origin"] == f"file {path}"


def test_fifty_thousand_unknown_keys_are_refused_in_an_error_that_people_can_read(write):
    text = json.dumps({"runtime_upgrade": {f"k{i}": 1 for i in range(50_000)}})
    error = refused(write("a.json", text))
    assert len(error.details["problems"]) == 200
    assert error.details["more"] == 49_800
    assert "50000 settings cannot be used" in str(error)
    assert len(str(error)) < 20_000


def test_a_key_with_control_characters_or_of_great_length_cannot_upset_a_terminal():
    error = refused(overrides={"runtime_upgrade": {"\x1b[2Jx": 1, "k" * 5000: 2}})
    assert "\x1b" not in str(error)
    assert len(str(error)) < 2000


@pytest.mark.parametrize("value", [None, 3, True, "x", [], [{}]])
@pytest.mark.parametrize("key", ["runtime_upgrade", "runtime_upgrade.hot_swap", "stack", "compiler", "runtime"])
def test_a_section_must_be_an_object(key, value):
    assert "must be a table of settings, not" in only(refused(overrides={key: value}))["problem"]


# --- values of wrong types ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("enabled", 1, "must be true or false, not 1"),
        ("enabled", "true", "must be true or false, not 'true'"),
        ("enabled", None, "must be true or false, not null"),
        ("hot_swap.max_concurrent_swaps", True, "must be a whole number, not true"),
        ("hot_swap.max_concurrent_swaps", 3.0, "must be a whole number, not 3.0"),
        ("hot_swap.max_concurrent_swaps", "3", "must be a whole number, not '3'"),
        ("hot_swap.max_concurrent_swaps", 0, "must be at least 1, not 0"),
        ("hot_swap.swap_timeout", "30", "must be a number, not '30'"),
        ("hot_swap.swap_timeout", False, "must be a number, not false"),
        ("hot_swap.swap_timeout", 0, "must be greater than 0"),
        ("hot_swap.swap_timeout", -1.5, "must be greater than 0"),
        ("hot_swap.swap_timeout", 1e300, "at most"),
        ("hot_swap.swap_timeout", 10**400, "must be a finite number"),
        ("hot_swap.swap_timeout", float("nan"), "must be a finite number"),
        ("hot_swap.swap_timeout", float("inf"), "must be a finite number"),
        ("hot_swap.swap_timeout", [30], "must be a number, not a list"),
        ("hot_swap.swap_timeout", {"seconds": 3}, "must be a number, not a table"),
        ("gradual_rollout_percentage", 101, "at most 100"),
        ("gradual_rollout_percentage", 0, "must be greater than 0"),
        ("validation.level", "paranoid", "must be one of strict, normal, permissive, not 'paranoid'"),
        ("validation.level", 1, "must be one of strict, normal, permissive"),
        ("validation.level", True, "must be one of strict, normal, permissive"),
        ("log_level", "info", "must be one of DEBUG"),
        ("critical_components", "memory_manager", "must be a list, not 'memory_manager'"),
        ("critical_components", ["a", 3], "must be a string, not 3"),
        ("critical_components", {"a": 1}, "must be a list, not a table"),
        ("state_directory", "", "must not be empty"),
        ("state_directory", "  ", "must not be empty"),
        ("state_directory", 7, "must be a string, not 7"),
        ("state_directory", "a\0b", "NUL"),
        ("components.registry_path", "\udcff", "surrogate"),
        ("sources.order", [], "must not be empty"),
        ("limits.max_files", 10**30, None),
        ("soak.seconds", -0.1, "must be at least 0"),
        ("drivers.judge", "", "must not be empty"),
    ],
)
def test_a_value_of_a_wrong_type_or_out_of_range_is_refused_by_its_key(key, value, said):
    overrides = {f"runtime_upgrade.{key}": value}
    if said is None:
        assert rows(loaded(overrides))[f"runtime_upgrade.{key}"].value == value
        return
    problem = only(refused(overrides=overrides))
    assert problem["key"] == f"runtime_upgrade.{key}"
    assert said in problem["problem"]
    assert len(problem["problem"]) < 200


@pytest.mark.parametrize(
    ("key", "value", "hint"),
    [
        ("hot_swap.swap_timeout", "30", "Write 30, without quotes."),
        ("critical_components", "vm", "Write ['vm']."),
        ("validation.level", "Strict", "Did you mean 'strict'?"),
        ("log_level", "warn", "Did you mean 'WARNING'?"),
    ],
)
def test_a_wrong_value_is_refused_with_how_to_write_it(key, value, hint):
    assert only(refused(overrides={f"runtime_upgrade.{key}": value}))["hint"] == hint


def test_a_whole_number_is_welcome_where_any_number_is():
    value = loaded({"runtime_upgrade.hot_swap.swap_timeout": 45}).runtime_upgrade.hot_swap.swap_timeout
    assert (value, type(value)) == (45.0, float)


def test_a_wrong_value_in_a_file_is_refused_although_something_stronger_overrides_it(write):
    path = write("a.json", '{"runtime_upgrade": {"enabled": "no"}}')
    environ = {"NOODLE_RUNTIME_UPGRADE_ENABLED": "0"}
    problem = only(refused(path, environ=environ, overrides={"runtime_upgrade.enabled": True}))
    assert problem["origin"].startswith("file ")


def test_a_key_that_is_wrong_in_several_layers_is_told_for_each_of_them(write):
    path = write("a.json", '{"runtime_upgrade": {"enabled": "no"}}')
    error = refused(path, environ={"NOODLE_RUNTIME_UPGRADE_ENABLED": "-"}, overrides={"runtime_upgrade.enabled": 0})
    origins = [problem["origin"] for problem in error.details["problems"]]
    assert origins == [f"file {path}, line 1", "NOODLE_RUNTIME_UPGRADE_ENABLED", "argument"]


def test_values_that_contradict_one_another_are_refused():
    plugins = "runtime_upgrade.plugins."
    assert "required and disabled" in str(refused(overrides={plugins + "required": ["a"], plugins + "disabled": ["a"]}))
    assert "not among" in str(refused(overrides={plugins + "required": ["a"], plugins + "enabled": ["b"]}))
    assert "not among" in str(refused(overrides={plugins + "required": ["a"], "stack.plugins": ["b"]}))


@pytest.mark.parametrize(
    "make",
    [
        lambda: HotSwapSettings(swap_timeout=-1.0),
        lambda: RuntimeUpgradeSettings(log_level="LOUD"),
        lambda: HotSwapSettings(swap_timeout=float("nan")),
    ],
)
def test_an_object_that_is_made_by_hand_keeps_to_the_ranges_too(make):
    with pytest.raises(SettingsError):
        make()


# --- variables ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["1", "true", "TRUE", "yes", "on", " 1 ", "On"])
def test_a_switch_is_turned_on_by_these_words(text):
    assert load(environ={"NOODLE_AUTO_UPGRADE_APPROVAL": text}).runtime_upgrade.approval.automatic is True


@pytest.mark.parametrize("text", ["0", "false", "False", "no", "off", " OFF"])
def test_the_kill_switch_is_turned_off_by_these_words_and_names_itself(text):
    settings = load(environ={"NOODLE_RUNTIME_UPGRADE_ENABLED": text})
    assert settings.enabled == (False, "NOODLE_RUNTIME_UPGRADE_ENABLED")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("NOODLE_RUNTIME_UPGRADE_ENABLED", ""),
        ("NOODLE_RUNTIME_UPGRADE_ENABLED", "2"),
        ("NOODLE_RUNTIME_UPGRADE_ENABLED", "disabled"),
        ("NOODLE_HOT_SWAP_ENABLED", "t"),
        ("NOODLE_HOT_SWAP_ENABLED", "\u0661"),
        ("NOODLE_UPGRADE_TIMEOUT", "nan"),
        ("NOODLE_UPGRADE_TIMEOUT", "inf"),
        ("NOODLE_UPGRADE_TIMEOUT", "1e400"),
        ("NOODLE_UPGRADE_TIMEOUT", "30s"),
        ("NOODLE_UPGRADE_TIMEOUT", "1_000"),
        ("NOODLE_UPGRADE_TIMEOUT", "-1"),
        ("NOODLE_UPGRADE_TIMEOUT", ""),
        ("NOODLE_MAX_CONCURRENT_UPGRADES", "3.0"),
        ("NOODLE_MAX_CONCURRENT_UPGRADES", "9" * 5000),
        ("NOODLE_MAX_CONCURRENT_UPGRADES", "0"),
        ("NOODLE_UPGRADE_VALIDATION_LEVEL", "stric"),
        ("NOODLE_UPGRADE_VALIDATION_LEVEL", ""),
        ("NOODLE_LOG_LEVEL", "LOUD"),
        ("NOODLE_STATE_DIRECTORY", ""),
        ("NOODLE_STATE_DIRECTORY", "a\udcffb"),
    ],
)
def test_a_variable_that_cannot_be_converted_is_refused_by_its_name(name, text):
    error = refused(environ={name: text})
    assert only(error)["origin"] == name
    assert only(error)["key"].startswith("runtime_upgrade.")
    assert str(error).startswith(name)
    assert len(str(error)) < 400


def test_a_list_in_a_variable_is_separated_by_commas():
    settings = load(environ={"NOODLE_CRITICAL_COMPONENTS": " vm_engine, memory_manager,,"}, sections=RUNTIME)
    assert settings.runtime_upgrade.critical_components == ("vm_engine", "memory_manager")
    assert settings.section("runtime").components.critical_components == ("vm_engine", "memory_manager")
    assert load(environ={"NOODLE_CRITICAL_COMPONENTS": ""}).runtime_upgrade.critical_components == ()


def test_of_several_variables_for_one_setting_the_first_named_counts():
    both = {"NOODLE_EVERY_COLOR": "red", "NOODLE_EVERY_COLOUR": "green"}
    assert load(environ=both, sections=EVERY).section("every").colour is Colour.GREEN
    assert load(environ={"NOODLE_EVERY_COLOR": "red"}, sections=EVERY).section("every").colour is Colour.RED


def test_a_variable_may_name_a_choice_that_is_a_number():
    assert load(environ={"NOODLE_EVERY_STEP": " 2"}, sections=EVERY).section("every").step == 2
    assert only(refused(environ={"NOODLE_EVERY_STEP": "3"}, sections=EVERY))["origin"] == "NOODLE_EVERY_STEP"


def test_without_a_mapping_the_variables_of_the_process_count(monkeypatch):
    for name in [name for name in os.environ if name.startswith("NOODLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NOODLE_RUNTIME_UPGRADE_ENABLED", "0")
    assert load_settings().enabled == (False, "NOODLE_RUNTIME_UPGRADE_ENABLED")


def test_an_object_made_without_loading_reads_no_variable(monkeypatch):
    monkeypatch.setenv("NOODLE_RUNTIME_UPGRADE_ENABLED", "0")
    assert Settings().enabled == (True, "default")


@pytest.mark.parametrize(
    ("name", "problem", "hint"),
    [
        ("NOODLE_HOTSWAP_ENABLED", "is a variable that nothing here reads", "Did you mean 'NOODLE_HOT_SWAP_ENABLED'?"),
        ("NOODLE_BAR_OPENING_HOURS", "is a variable that nothing here reads", ""),
        ("NOODLE_COMPILER_VERSION_AWARE", "without the plugin noodle-upgrade-compiler", "Install noodle-upgrade-comp"),
        ("NOODLE_AI_AGENT_FEEDBACK_WEIGHT", "without the plugin noodle-upgrade-agents", "Install"),
        ("NOODLE_DEPLOYMENT_UPGRADE_SYNC_INTERVAL", "without the plugin noodle-upgrade-deployment", "Install"),
        ("NOODLE_UPGRADE_DEPLOYMENT_TIMEOUT", "without the plugin noodle-upgrade-deployment", "Install"),
        ("NOODLE_SELF_IMPROVEMENT_UPGRADE_INTEGRATION", "noodle-upgrade-self-improvement", "Install"),
        ("NOODLE_RUNTIME_UPGRADE_TRIGGERS", "noodle-upgrade-self-improvement", "Install"),
        ("NOODLE_RUNTIME_UPGRADE_TIMEOUT", "without the plugin noodle-upgrade-runtime", "Install"),
        ("NOODLE_RUNTIME_UPGRADE_ENABLE", "noodle-upgrade-runtime", "Did you mean 'NOODLE_RUNTIME_UPGRADE_ENABLED'?"),
    ],
)
def test_a_variable_that_nothing_reads_is_a_warning_and_no_error(name, problem, hint):
    (found,) = load(environ={name: "nonsense", "OTHER": "1"}).problems()
    assert (found.origin, found.severity) == (name, Severity.WARNING)
    assert problem in found.problem
    assert found.hint.startswith(hint)
    assert bool(found.hint) == bool(hint)


def test_a_slip_in_the_variable_of_a_loaded_plugin_is_told_with_what_was_meant():
    (found,) = load(environ={"NOODLE_RUNTIME_UPGRADE_SYNK": "1"}, sections=RUNTIME).problems()
    assert found.hint == "Did you mean 'NOODLE_RUNTIME_UPGRADE_SYNC'?"


def test_the_token_of_the_command_line_is_no_unknown_variable():
    assert load(environ={"NOODLE_TOKEN": "s3cret"}).problems() == ()


# --- the documents and the variables as they are -----------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(DOCUMENTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_document_is_accepted_as_it_is_and_every_value_lands(path):
    data = json.loads(path.read_text())
    settings = load(path, sections=RUNTIME)
    (name,) = data
    if name in {"runtime_upgrade", "runtime"}:
        shown = rows(settings)
        for key, value in leaves(data):
            assert (shown[key].value, shown[key].origin) == (value, f"file {path}")
        assert settings.problems() == ()
    else:
        assert settings.to_wire(reveal=True)[name] == data[name]
        (problem,) = settings.problems()
        assert (problem.key, problem.severity, problem.origin) == (name, Severity.WARNING, f"file {path}")
        assert "no effect" in problem.problem
        assert problem.hint.startswith("Install noodle-upgrade-")


def test_all_documents_together_with_all_variables_are_accepted():
    environ = environment_sh()
    assert len(environ) == 22
    settings = load(*sorted(DOCUMENTS.glob("*.json")), environ=environ, sections=RUNTIME)
    shown = {row.key: (row.value, row.origin) for row in settings.explain()}
    expected = {
        "runtime_upgrade.enabled": (True, "NOODLE_RUNTIME_UPGRADE_ENABLED"),
        "runtime_upgrade.hot_swap.enabled": (True, "NOODLE_HOT_SWAP_ENABLED"),
        "runtime_upgrade.upgrade_timeout": (300.0, "NOODLE_UPGRADE_TIMEOUT"),
        "runtime_upgrade.rollback.enabled": (True, "NOODLE_ROLLBACK_ENABLED"),
        "runtime_upgrade.validation.level": ("strict", "NOODLE_UPGRADE_VALIDATION_LEVEL"),
        "runtime_upgrade.approval.automatic": (False, "NOODLE_AUTO_UPGRADE_APPROVAL"),
        "runtime.upgrade_integration.enabled": (True, "NOODLE_RUNTIME_UPGRADE_INTEGRATION"),
        "runtime.upgrade_integration.auto_sync": (True, "NOODLE_RUNTIME_UPGRADE_SYNC"),
        "runtime.coordination.upgrade_timeout": (30.0, "NOODLE_RUNTIME_UPGRADE_TIMEOUT"),
    }
    assert {key: shown[key] for key in expected} == expected
    used = {origin for _, origin in expected.values()}
    left = {problem.origin for problem in settings.problems() if not problem.key}
    assert used | left == environ.keys()
    assert not any(problem.hint.startswith("Did you mean") for problem in settings.problems())


def test_every_variable_with_another_value_than_the_default_arrives():
    environ = {
        "NOODLE_RUNTIME_UPGRADE_ENABLED": "0",
        "NOODLE_HOT_SWAP_ENABLED": "0",
        "NOODLE_UPGRADE_TIMEOUT": "77.5",
        "NOODLE_ROLLBACK_ENABLED": "0",
        "NOODLE_UPGRADE_VALIDATION_LEVEL": "permissive",
        "NOODLE_AUTO_UPGRADE_APPROVAL": "1",
        "NOODLE_GRADUAL_ROLLOUT_PERCENTAGE": "25",
        "NOODLE_MAX_CONCURRENT_UPGRADES": "7",
        "NOODLE_CRITICAL_COMPONENTS": "vm",
        "NOODLE_LOG_LEVEL": "DEBUG",
        "NOODLE_STATE_DIRECTORY": "/var/lib/noodle",
    }
    core = load(environ=environ).runtime_upgrade
    assert (core.enabled, core.hot_swap.enabled, core.upgrade_timeout, core.rollback.enabled) == (
        False,
        False,
        77.5,
        False,
    )
    assert core.validation.level is ValidationLevel.PERMISSIVE
    assert (core.approval.automatic, core.gradual_rollout_percentage, core.max_concurrent_upgrades) == (True, 25.0, 7)
    assert (core.critical_components, core.log_level, core.state_directory) == (("vm",), "DEBUG", "/var/lib/noodle")
    declared = {name for row in Settings().explain() for name in row.variables}
    assert declared == environ.keys()


def test_toml_with_the_same_keys_means_the_same(write):
    text = """
    [runtime_upgrade]
    enabled = true
    [runtime_upgrade.hot_swap]
    enabled = true
    max_concurrent_swaps = 3
    swap_timeout = 30
    [runtime_upgrade.rollback]
    enabled = true
    max_rollback_points = 10
    rollback_retention_days = 30
    [runtime_upgrade.validation]
    level = "strict"
    pre_upgrade_checks = true
    post_upgrade_validation = true
    [runtime_upgrade.components]
    registry_path = "runtime_components"
    auto_discovery = true
    dependency_resolution = true
    """
    toml = load(write("noodle.toml", text))
    assert toml == load(DOCUMENTS / "runtime_upgrade_config.json")
    keys = {row.key for row in toml.explain() if row.origin != "default"}
    assert keys == {key for key, _ in leaves(json.loads((DOCUMENTS / "runtime_upgrade_config.json").read_text()))}


def test_the_document_of_the_core_holds_the_defaults():
    assert load(DOCUMENTS / "runtime_upgrade_config.json") == load()


@pytest.mark.parametrize(
    ("name", "text"),
    [("settings", "[stack]\njudge = 'x'"), ("settings", ' {"stack": {"judge": "x"}}'), ("a.JSON", "{}")],
)
def test_a_file_of_another_name_is_read_by_what_it_begins_with(name, text, write):
    assert load(write(name, text)).stack.judge == ("x" if "x" in text else "")


def test_a_byte_order_mark_is_no_mistake(write):
    assert load(write("a.json", b'\xef\xbb\xbf{"stack": {"judge": "x"}}')).drivers.judge == "x"


# --- who wins ----------------------------------------------------------------------------------------------------

SETTABLE = {
    "runtime_upgrade.enabled": ("NOODLE_RUNTIME_UPGRADE_ENABLED", st.booleans()),
    "runtime_upgrade.upgrade_timeout": ("NOODLE_UPGRADE_TIMEOUT", st.integers(1, 10**6).map(float)),
    "runtime_upgrade.hot_swap.max_concurrent_swaps": ("", st.integers(1, 99)),
    "runtime_upgrade.hot_swap.enabled": ("NOODLE_HOT_SWAP_ENABLED", st.booleans()),
    "runtime_upgrade.validation.level": (
        "NOODLE_UPGRADE_VALIDATION_LEVEL",
        st.sampled_from(list(map(str, ValidationLevel))),
    ),
    "runtime_upgrade.critical_components": ("NOODLE_CRITICAL_COMPONENTS", st.lists(st.sampled_from("abc"), max_size=3)),
    "runtime_upgrade.sources.wheel.locations": ("", st.lists(st.text("xyz/", min_size=1), max_size=2)),
    "runtime.coordination.upgrade_timeout": ("NOODLE_RUNTIME_UPGRADE_TIMEOUT", st.integers(1, 99).map(float)),
}
layer = st.fixed_dictionaries({}, optional={key: values for key, (_, values) in SETTABLE.items()})


def nested(flat):
    made = {}
    for key, value in flat.items():
        *above, last = key.split(".")
        inner = made
        for part in above:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return made


def as_text(value):
    if isinstance(value, bool):
        return "1" if value else "0"
    return ",".join(value) if isinstance(value, list) else str(value)


@profile(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=st.lists(layer, max_size=3), variables=layer, arguments=layer, nest=st.booleans())
def test_the_strongest_layer_that_says_something_is_what_counts_key_by_key(
    tmp_path_factory, files, variables, arguments, nest
):
    folder = tmp_path_factory.mktemp("layers")
    paths = [folder / f"{number}.json" for number in range(len(files))]
    for path, flat in zip(paths, files, strict=True):
        path.write_text(json.dumps(nested(flat)))
    environ = {SETTABLE[key][0]: as_text(value) for key, value in variables.items() if SETTABLE[key][0]}
    overrides = nested(arguments) if nest else arguments
    settings = load(*paths, environ=environ, overrides=overrides, sections=RUNTIME)
    shown = rows(settings)
    default = rows(load(sections=RUNTIME))
    for key, (variable, _) in SETTABLE.items():
        expected = (default[key].value, "default")
        for path, flat in zip(paths, files, strict=True):
            if key in flat:
                expected = (flat[key], f"file {path}")
        if variable and key in variables:
            expected = (variables[key], variable)
        if key in arguments:
            expected = (arguments[key], "argument")
        assert (shown[key].value, shown[key].origin) == expected
    again = load(overrides=settings.to_wire(), sections=RUNTIME)
    assert again == settings
    assert again.digest() == settings.digest()


def test_of_several_arguments_for_one_key_the_last_counts():
    overrides = {
        "runtime_upgrade.hot_swap": {"enabled": False, "swap_timeout": 5},
        "runtime_upgrade.hot_swap.enabled": True,
    }
    hot_swap = loaded(overrides).runtime_upgrade.hot_swap
    assert (hot_swap.enabled, hot_swap.swap_timeout) == (True, 5.0)


def test_arguments_may_be_python_values(tmp_path):
    settings = loaded(
        {
            "runtime_upgrade.state_directory": tmp_path,
            "runtime_upgrade.validation.level": ValidationLevel.NORMAL,
            "runtime_upgrade.critical_components": ("a", "b"),
        }
    )
    assert settings.runtime_upgrade.state_directory == str(tmp_path)
    assert settings.runtime_upgrade.validation.level is ValidationLevel.NORMAL
    assert settings.runtime_upgrade.critical_components == ("a", "b")


@pytest.mark.parametrize("overrides", [{"": 1}, {".": 1}, {"runtime_upgrade.": 1}, {7: 1}, {"runtime_upgrade": {7: 1}}])
def test_an_argument_that_is_no_key_is_refused(overrides):
    assert only(refused(overrides=overrides))["origin"] == "argument"


def test_lists_replace_and_objects_merge(write):
    one = write("1.json", '{"every": {"shares": {"a": 0.1, "b": 0.2}, "numbers": [1, 2]}}')
    two = write("2.json", '{"every": {"shares": {"b": 0.3}, "numbers": [3]}}')
    settings = load(one, two, sections=EVERY)
    assert settings.section("every").shares == {"a": 0.1, "b": 0.3}
    assert settings.section("every").numbers == {3}
    shown = rows(settings)
    assert shown["every.shares.a"].origin == f"file {one}"
    assert shown["every.shares.b"].origin == f"file {two}"


# --- a plugin's own class ----------------------------------------------------------------------------------------


def test_a_plugins_class_may_hold_whatever_a_document_can_say():
    data = {
        "folder": "reports",
        "mode": "fast",
        "colour": "green",
        "numbers": [3, 1],
        "shares": {"a": 1},
        "windows": {"night": {"end": "05:00"}, "noon": {"start": "12:00", "end": "13:00", "days": ["monday"]}},
        "extra": [{"start": "1", "end": "2"}],
        "anything": {"deep": [1, {"x": None}]},
    }
    settings = loaded({"every": data}, sections=EVERY)
    every = settings.section("every")
    assert (every.folder, every.mode, every.colour, every.numbers) == (Path("reports"), "fast", Colour.GREEN, {1, 3})
    assert every.windows["night"] == Window(start="02:00", end="05:00")
    assert every.windows["noon"].days == ("monday",)
    assert every.extra == (Window(start="1", end="2"),)
    assert every.anything == {"deep": (1, {"x": None})}
    assert loaded(settings.to_wire(), sections=EVERY) == settings


@pytest.mark.parametrize(
    ("data", "key", "said"),
    [
        ({"windows": {"noon": {"start": "1"}}}, "every.windows.noon.end", "is needed and is not given"),
        ({"windows": {"noon": {"start": "1", "end": "1"}}}, "every.windows.noon", "start and end are the same"),
        ({"windows": {"noon": 3}}, "every.windows.noon", "must be a table"),
        ({"windows": {"night": {"days": ["sundae"]}}}, "every.windows.night.days", "must be one of sunday, monday"),
        ({"windows": {"night": {"stop": "x"}}}, "every.windows.night.stop", "is not a setting"),
        ({"extra": [{"start": "1"}]}, "every.extra[0].end", "is needed"),
        ({"extra": [{"start": "1", "end": "2"}, "x"]}, "every.extra[1]", "must be a table"),
        ({"shares": {"a": 1.5}}, "every.shares.a", "at most 1"),
        ({"shares": {"a": "1"}}, "every.shares.a", "must be a number"),
        ({"shares": [1]}, "every.shares", "must be a table"),
        ({"numbers": [1, -1]}, "every.numbers", "at least 0"),
        ({"colour": "blue"}, "every.colour", "must be one of red, green"),
        ({"mode": "sage"}, "every.mode", "must be one of fast, safe"),
        ({"step": True}, "every.step", "must be one of 1, 2, not true"),
        ({"step": "1"}, "every.step", "must be one of 1, 2, not '1'"),
    ],
)
def test_a_wrong_value_deep_in_a_plugins_section_is_refused_by_its_whole_key(data, key, said):
    problem = next(iter(refused(overrides={"every": data}, sections=EVERY).details["problems"]))
    assert problem["key"] == key
    assert said in problem["problem"]


def test_null_takes_back_what_a_weaker_layer_says(write):
    one = write("1.json", '{"every": {"colour": "red"}}')
    two = write("2.json", '{"every": {"colour": null}}')
    assert load(one, sections=EVERY).section("every").colour is Colour.RED
    assert load(one, two, sections=EVERY).section("every").colour is None
    assert load(one, two, environ={"NOODLE_EVERY_COLOUR": "red"}, sections=EVERY).section("every").colour is Colour.RED


def test_a_plugins_own_remarks_come_with_whole_keys_and_origins():
    (found,) = loaded({"every.mode": "fast"}, sections=EVERY).problems()
    assert (found.key, found.origin, found.severity) == ("every.mode", "argument", Severity.WARNING)


def test_the_section_of_a_plugin_that_is_loaded_later_is_claimed_then(write):
    path = write("a.json", '{"runtime": {"coordination": {"upgrade_timeout": 5}}}')
    environ = {"NOODLE_RUNTIME_UPGRADE_SYNC": "0"}
    early = load(path, environ=environ, installed=["runtime"])
    assert any("installed and not loaded" in problem.problem for problem in early.problems())
    assert {problem.origin for problem in early.problems()} == {"NOODLE_RUNTIME_UPGRADE_SYNC", f"file {path}"}
    late = early.claim(RUNTIME)
    assert late == load(path, environ=environ, sections=RUNTIME)
    assert late.section("runtime").upgrade_integration.auto_sync is False
    assert late.problems() == ()
    assert late.unclaimed == {}


def test_a_section_that_does_not_fit_the_class_that_claims_it_is_refused():
    early = loaded({"acme_audit": {"mod": "safe"}}, installed=["acme-audit"])
    with pytest.raises(SettingsError, match=r"acme_audit\.mod"):
        early.claim({"acme_audit": EverySettings})


def test_a_section_of_nobody_is_refused_although_the_known_plugins_are_not_installed():
    assert only(refused(overrides={"acme_audit": {}}))["key"] == "acme_audit"


def test_the_section_of_an_installed_plugin_is_known_by_its_entry_point_alone(tmp_path, monkeypatch):
    info = tmp_path / "acme_audit-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-audit\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[noodle_upgrade.plugins]\nacme-audit = acme_audit_that_is_not_there:Plugin\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = load_settings(environ={}, overrides={"acme_audit": {"x": 1}})
    assert settings.unclaimed == {"acme_audit": {"x": 1}}
    assert "installed and not loaded" in settings.problems()[0].problem
    with pytest.raises(SettingsError, match="acme_adit"):
        load_settings(environ={}, overrides={"acme_adit": {}})


def test_a_plugin_cannot_take_a_section_of_the_core():
    with pytest.raises(SettingsError, match="belongs to the core"):
        load(sections={"stack": EverySettings})


def test_a_class_that_no_setting_can_be_of_is_the_plugin_authors_mistake():
    @frozen(kw_only=True)
    class Wrong:
        when: complex = setting(1j)

    @frozen(kw_only=True)
    class Table:
        when: Mapping[str, int] = setting(factory=dict, env="NOODLE_X")

    @frozen(kw_only=True)
    class Either:
        when: int | str = setting(1)

    @frozen(kw_only=True)
    class Unnamed:
        when: "NotToBeFound" = setting(1)  # noqa: F821 - that is the point

    for cls in (Wrong, Table, Either, Unnamed):
        with pytest.raises(TypeError):
            loaded({"wrong.when": 3}, sections={"wrong": cls})
    with pytest.raises(ValueError, match="NOODLE_"):
        setting(1, env="PATH")


def test_a_section_that_is_not_loaded_is_refused_with_what_to_install():
    settings = load()
    with pytest.raises(SettingsError, match="noodle-upgrade-compiler"):
        settings.section("compiler")
    with pytest.raises(SettingsError, match="Did you mean 'stack'"):
        settings.section("stak")
    assert settings.section("stack") is settings.stack
    assert settings.section("runtime_upgrade") is settings.runtime_upgrade


# --- secrets -----------------------------------------------------------------------------------------------------

SECRET = "hunter2-and-more"


def test_a_secret_is_never_shown(write):
    path = write("a.json", json.dumps({"every": {"pin": 1234}, "compiler": {"token": SECRET}}))
    settings = load(path, environ={"NOODLE_EVERY_TOKEN": SECRET}, sections=EVERY)
    assert settings.section("every").token == SECRET
    assert rows(settings)["every.token"].value == "***"
    assert rows(settings)["every.token"].origin == "NOODLE_EVERY_TOKEN"
    every_text = [repr(settings), str(settings), repr(settings.explain()), repr(settings.section("every"))]
    every_text += [json.dumps(settings.to_wire()), repr(settings.problems())]
    for text in every_text:
        assert SECRET not in text
        assert "1234" not in text
    assert settings.to_wire(reveal=True)["every"]["token"] == SECRET
    assert load(overrides=settings.to_wire(reveal=True), sections=EVERY) == settings


def test_a_secret_that_is_wrong_is_refused_without_being_shown():
    @frozen(kw_only=True)
    class Guarded:
        token: str = setting("", secret=True)

        def __attrs_post_init__(self) -> None:
            if self.token:
                raise ValueError(f"the token {self.token!r} is too short")

    for options in (
        {"overrides": {"every.token": [SECRET]}, "sections": EVERY},
        {"overrides": {"every.token": {"x": SECRET}}, "sections": EVERY},
        {"overrides": {"every.pin": SECRET}, "sections": EVERY},
        {"environ": {"NOODLE_EVERY_PIN": SECRET}, "sections": EVERY},
        {"environ": {"NOODLE_EVERY_PIN": "87654321"}, "sections": EVERY},
        {"overrides": {"guarded.token": SECRET}, "sections": {"guarded": Guarded}},
        {"overrides": {"compiler": SECRET}},
        {"overrides": {"every": SECRET}, "sections": EVERY},
    ):
        error = refused(**options)
        assert SECRET not in json.dumps(error.to_wire())
        assert "87654321" not in json.dumps(error.to_wire())
    with pytest.raises(SettingsError) as caught:
        EverySettings(pin=87654321)
    assert "87654321" not in str(caught.value)


# --- drivers and stacks ------------------------------------------------------------------------------------------


def test_the_decider_waits_for_a_person_unless_approval_is_automatic():
    assert load().drivers.decider == "approval"
    assert load(environ={"NOODLE_AUTO_UPGRADE_APPROVAL": "1"}).drivers.decider == "unanimous"
    assert loaded({"runtime_upgrade.drivers.decider": "quorum"}).drivers.decider == "quorum"


STACK = """
[stack]
plugins = ["runtime", "compiler", "deployment", "acme-audit"]
decider = "quorum"
strategy = "careful"
journal = "sqlite"
"""


def test_a_stack_says_which_plugins_and_drivers_take_part(write):
    path = write("stack.toml", STACK)
    settings = load(path, environ={"NOODLE_AUTO_UPGRADE_APPROVAL": "1"})
    drivers = settings.drivers
    assert (drivers.decider, drivers.strategy, drivers.journal, drivers.judge) == (
        "quorum",
        "careful",
        "sqlite",
        "killswitch",
    )
    assert settings.runtime_upgrade.plugins.enabled == ("runtime", "compiler", "deployment", "acme-audit")
    assert rows(settings)["runtime_upgrade.drivers.strategy"].origin == f"file {path}"
    assert settings.problems() == ()


def test_a_stack_wins_over_the_drivers_of_a_file_and_says_so(write):
    path = write("stack.toml", STACK)
    later = write("later.json", '{"runtime_upgrade": {"drivers": {"decider": "unanimous", "journal": "sqlite"}}}')
    settings = load(path, later)
    assert settings.drivers.decider == "quorum"
    (found,) = settings.problems()
    assert (found.key, found.origin) == ("runtime_upgrade.drivers.decider", f"file {later}")
    assert "stack.decider wins" in found.problem


def test_an_argument_wins_over_a_stack_in_a_file_and_under_one_that_is_an_argument_too(write):
    path = write("stack.toml", STACK)
    settings = load(path, overrides={"runtime_upgrade.drivers.decider": "unanimous"})
    assert settings.drivers.decider == settings.stack.decider == "unanimous"
    assert rows(settings)["stack.decider"].origin == "argument"
    assert [found.key for found in settings.problems()] == ["stack.decider"]
    assert loaded(settings.to_wire()) == settings
    both = {"runtime_upgrade.drivers.decider": "unanimous", "stack.decider": "approval"}
    assert load(path, overrides=both).drivers.decider == "approval"


# --- the object --------------------------------------------------------------------------------------------------


def test_settings_cannot_be_changed():
    settings = loaded(
        {"compiler": {"a": {"b": [1]}}, "every.shares": {"a": 1}, "every.anything": {"x": [1]}}, sections=EVERY
    )
    with pytest.raises(AttributeError):
        settings.runtime_upgrade.enabled = False
    for mapping in (
        settings.sections,
        settings.unclaimed,
        settings.unclaimed["compiler"]["a"],
        settings.origins,
        settings.section("every").shares,
        settings.section("every").windows,
        settings.section("every").anything,
    ):
        with pytest.raises(TypeError):
            mapping["x"] = 1
    assert settings.unclaimed["compiler"]["a"]["b"] == (1,)


def test_what_was_handed_in_can_change_afterwards_without_changing_the_settings():
    overrides = {"every.shares": {"a": 0.5}, "compiler": {"x": [1]}}
    environ = {"NOODLE_UPGRADE_TIMEOUT": "5"}
    settings = load(overrides=overrides, environ=environ, sections=EVERY)
    before = copy.deepcopy(settings.to_wire(reveal=True))
    overrides["every.shares"]["a"] = 0.9
    overrides["compiler"]["x"].append(2)
    environ["NOODLE_UPGRADE_TIMEOUT"] = "9"
    assert settings.to_wire(reveal=True) == before
    assert settings.claim({}).to_wire(reveal=True) == before


def test_explain_shows_every_value_once_with_its_variables_and_what_it_is_for():
    settings = load(environ={"NOODLE_HOT_SWAP_ENABLED": "0"})
    shown = settings.explain()
    assert len({row.key for row in shown}) == len(shown)
    assert {row.key for row in shown} == {key for key, _ in leaves(settings.to_wire())}
    assert all(row.help for row in shown)
    assert json.loads(json.dumps([row.value for row in shown])) == [row.value for row in shown]
    hot_swap = rows(settings)["runtime_upgrade.hot_swap.enabled"]
    assert (hot_swap.value, hot_swap.origin) == (False, "NOODLE_HOT_SWAP_ENABLED")
    assert hot_swap.variables == ("NOODLE_HOT_SWAP_ENABLED",)


def test_the_digest_tells_other_values_and_not_other_origins():
    same = load(environ={"NOODLE_UPGRADE_TIMEOUT": "300"})
    assert same.digest() == load().digest() == Settings().digest()
    assert re.fullmatch("[0-9a-f]{64}", same.digest())
    assert load(environ={"NOODLE_UPGRADE_TIMEOUT": "301"}).digest() != same.digest()


def test_only_files_in_the_folder_itself_are_found(tmp_path, write, monkeypatch):
    (tmp_path / "below" / "noodle.json").mkdir(parents=True)
    write("noodle.toml", "")
    assert default_files(tmp_path) == (tmp_path / "noodle.toml",)
    assert default_files(tmp_path / "below") == ()
    write("noodle.json", "{}")
    monkeypatch.chdir(tmp_path)
    assert default_files() == (Path("noodle.toml"), Path("noodle.json"))
    assert load_settings(default_files(), environ={}) == load()
    assert load_settings("noodle.json", environ={}) == load()


def test_a_problem_reads_as_one_sentence():
    problem = Problem(key="a.b", problem="must be true or false, not 3", hint="Say so.", origin="file x.json, line 3")
    assert str(problem) == "a.b (file x.json, line 3) must be true or false, not 3. Say so."


def test_loading_json_imports_neither_toml_nor_cattrs_nor_metadata():
    code = (
        "import sys; from noodle_upgrade_core.config import load_settings;"
        f"load_settings([{str(DOCUMENTS / 'runtime_upgrade_config.json')!r}], environ={{}});"
        "print(sorted({'tomllib', 'cattrs', 'difflib', 'importlib.metadata', 'stevedore'} & set(sys.modules)))"
    )
    path = os.pathsep.join(filter(None, sys.path))
    environ = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout.strip() == "[]"


def test_the_defaults_of_plugins_take_everybody():
    assert PluginSettings().enabled == ()
    assert Settings().section("runtime_upgrade").plugins.hook_timeout == 30.0
