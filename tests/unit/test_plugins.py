import sys
import threading
import types

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from noodle_upgrade_core import Finding, Host, hookimpl
from noodle_upgrade_core.drivers import Drivers
from noodle_upgrade_core.errors import (
    InvalidRequestError,
    PluginBrokenError,
    PluginIncompatibleError,
    PluginTimeoutError,
    SettingsError,
)
from noodle_upgrade_core.plugins import PluginInfo
from noodle_upgrade_core.plugins import loading as plugins
from noodle_upgrade_core.plugins.implementations import hook_arguments
from noodle_upgrade_core.plugins.installed import Catalogue
from tests.unit.environments import Environment

GOOD = """
from noodle_upgrade_core.hookspecs import hookimpl
class Plugin:
    @hookimpl
    def discover(self):
        return []
"""
CORE = "noodle-upgrade-core"


@pytest.fixture
def env(tmp_path):
    environment = Environment(tmp_path / "site")
    yield environment
    environment.close()


@pytest.fixture
def host(tmp_path):
    def make(info, section, settings):
        made = settings() if settings is not None else None
        return Host(settings=made, directory=tmp_path, store=tmp_path, drivers=Drivers(), emit=print, core=section)

    return make


@pytest.fixture
def load(env, host):
    def loaded(**chosen):
        chosen = {"core_version": "0.1.0", "make_host": host, **chosen}
        return plugins.load(plugins.index(catalogue=Catalogue([str(env.folder)])), **chosen)

    return loaded


class Good:
    @hookimpl
    def discover(self):
        return []


def only_failure(plugin_set):
    assert plugin_set.plugins == ()
    (failure,) = plugin_set.failures
    return failure.error


# --- a broken plugin never stops the host ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_module_here", "in its import: ModuleNotFoundError"),
        ("raise SystemExit(3)", "in its import: SystemExit: 3"),
        ("raise KeyboardInterrupt", "in its import: KeyboardInterrupt"),
        ("x = (", "in its import: SyntaxError"),
        ("Other = 1", "has no attribute 'Plugin'"),
        ("class Plugin:\n    def __init__(self): raise GeneratorExit", "in its making: GeneratorExit"),
        ("class Plugin:\n    def __init__(self): 1 / 0", "in its making: ZeroDivisionError"),
        ("class Plugin:\n    def __init__(self, a, b): pass", "needs 2 arguments: a, b"),
        ("class Plugin: pass", "implements no hook"),
        ("Plugin = 3", "implements no hook"),
        ("def Plugin(): pass", "is the function"),
        ("class Plugin:\n    settings = dict", "is not an attrs class"),
        ("class Plugin:\n    def __dir__(self): raise ValueError('no dir')", "no dir"),
    ],
)
def test_a_broken_plugin_is_reported_with_its_cause_and_the_others_live(env, load, source, said):
    env.plugin("bad", source)
    env.plugin("good", GOOD)
    plugin_set = load()
    assert plugin_set.names == ("good",)
    (failure,) = plugin_set.failures
    assert failure.info.name == "bad"
    assert failure.info.distribution == "acme-bad"
    assert isinstance(failure.error, PluginBrokenError)
    assert said in failure.error.message


def test_a_plugin_that_hangs_at_import_is_left_behind(env, load, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(sys, "noodle_release", release, raising=False)
    env.plugin("hangs", "import sys\nsys.noodle_release.wait()\n")
    env.plugin("good", GOOD)
    plugin_set = load(import_limit=0.2)
    release.set()
    assert plugin_set.names == ("good",)
    assert isinstance(plugin_set.failures[0].error, PluginTimeoutError)
    assert "'hangs' was still busy in its import after 0.2 s" in plugin_set.failures[0].error.message


def test_a_plugin_that_hangs_while_it_is_made_is_left_behind(load):
    release = threading.Event()

    class Hangs(Good):
        def __init__(self):
            release.wait()

    plugin_set = load(import_limit=0.2, extra={"hangs": Hangs, "good": Good})
    release.set()
    assert plugin_set.names == ("good",)
    assert "'hangs' was still busy in its making after 0.2 s" in plugin_set.failures[0].error.message


def test_a_required_plugin_that_is_broken_stops_the_host_with_its_own_error(env, load):
    env.plugin("bad", "raise RuntimeError('boom')")
    env.plugin("late", "class Plugin:\n    def __init__(self): raise RuntimeError('late')")
    with pytest.raises(PluginBrokenError, match="boom") as caught:
        load(required=["bad"])
    assert caught.value.details["required"] is True
    with pytest.raises(PluginBrokenError, match="late"):
        load(required=["late"])
    with pytest.raises(PluginBrokenError, match="'gone' is asked for, and is not installed"):
        load(required=["gone"])
    with pytest.raises(PluginBrokenError, match="required and disabled at once"):
        load(required=["bad"], disabled=["bad"])


def test_settings_that_are_refused_are_that_plugins_failure(env, host):
    @frozen
    class Strict:
        limit: int = 3

    class Wants(Good):
        settings = Strict

    def refusing(info, section, settings):
        if settings is Strict:
            raise SettingsError("limit must be a whole number", details={"problems": [section]})
        return host(info, section, settings)

    plugin_set = plugins.load((), core_version="1", make_host=refusing, extra={"wants": Wants, "good": Good})
    assert plugin_set.names == ("good",)
    assert isinstance(plugin_set.failures[0].error, SettingsError)
    assert plugin_set.failures[0].error.details == {"plugin": "wants", "hook": "its making", "problems": ["wants"]}


def test_two_plugins_that_read_one_section_are_refused_naming_both(host):
    @frozen
    class Settings:
        pass

    class One(Good):
        settings = Settings
        section = "shared"

    class Two(One):
        pass

    plugin_set = plugins.load((), core_version="1", make_host=host, extra={"one": One, "two": Two})
    assert plugin_set.names == ("one",)
    assert "'one' and 'two' both read the settings section 'shared'" in plugin_set.failures[0].error.message


def test_a_name_claimed_by_two_distributions_is_not_loaded_at_all(env, load):
    env.plugin("twin", GOOD, distribution="acme-one", module="zoo_twin")
    env.plugin("twin", GOOD, distribution="acme-two", module="zoo_twin")
    error = only_failure(load())
    assert "acme-one 1.0" in error.message
    assert "acme-two 1.0" in error.message
    assert not env.imported("zoo_twin")


# --- which may take part -----------------------------------------------------------------------------------------


def test_what_is_not_let_in_is_never_imported_and_its_metadata_is_never_read(env, load):
    for name in ("yes", "no", "off"):
        env.plugin(name, GOOD if name == "yes" else "raise RuntimeError", requires=["noodle-upgrade-core>=0.1"])
    for name in ("no", "off"):
        metadata = env.folder / f"acme_{name}-1.0.dist-info" / "METADATA"
        metadata.unlink()
        metadata.mkdir()
    plugin_set = load(enabled=["yes", "off"], disabled=["off"])
    assert plugin_set.names == ("yes",)
    assert plugin_set.failures == ()
    assert not env.imported("zoo_no")
    assert not env.imported("zoo_off")
    assert plugin_set.info("yes").requires_core == ">=0.1"


def test_indexing_imports_nothing_and_reads_requirements_on_demand_only(env):
    env.plugin("one", "raise RuntimeError", requires=["noodle-upgrade-core<2,>=0.1 ; python_version > '3'", "x"])
    catalogue = Catalogue([str(env.folder)])
    expected = PluginInfo(name="one", distribution="acme-one", version="1.0", value="zoo_one:Plugin")
    assert plugins.index(catalogue=catalogue) == (expected,)
    assert plugins.index(catalogue=catalogue, requirements=True)[0].requires_core == "<2,>=0.1"
    assert not env.imported("zoo_one")


def test_names_are_compared_as_pip_compares_them(env, load):
    env.plugin("no-fridays", GOOD)
    assert load(enabled=["No_Fridays"]).names == ("no-fridays",)
    assert load(disabled=["no.fridays"]).names == ()


def test_a_plugin_that_is_enabled_and_not_installed_is_a_failure_with_a_suggestion(env, load):
    env.plugin("audit", GOOD)
    plugin_set = load(enabled=["audit", "audti"])
    assert plugin_set.names == ("audit",)
    assert plugin_set.failures[0].error.hint == "Did you mean 'audit'?"


@pytest.mark.parametrize(
    ("requirement", "fits"),
    [
        ("noodle-upgrade-core>=0.1,<0.2", True),
        ("Noodle_Upgrade.Core (>=0.1)", True),
        ("noodle-upgrade-core>=0.2", False),
        ("noodle-upgrade-core==0.1.5", False),
        ("noodle-upgrade-core>=9; python_version < '3'", True),
        ("noodle-upgrade-core>=9; extra == 'docs'", True),
        ("noodle-upgrade-core", True),
        ("other>=3", True),
        ("not a requirement @@", True),
    ],
)
def test_a_plugin_for_another_core_is_refused_before_it_is_imported(env, load, requirement, fits):
    env.plugin("fits", GOOD, requires=["x>=1", requirement])
    plugin_set = load()
    assert (plugin_set.names == ("fits",)) is fits
    if not fits:
        assert isinstance(plugin_set.failures[0].error, PluginIncompatibleError)
        assert plugin_set.failures[0].error.details["core_version"] == "0.1.0"
        assert not env.imported("zoo_fits")


def test_a_prerelease_of_the_core_counts_as_what_it_will_be(env, load):
    env.plugin("fits", GOOD, requires=["noodle-upgrade-core>=0.1,<0.3"])
    assert load(core_version="0.2.dev1").names == ("fits",)


# --- forms of plugins --------------------------------------------------------------------------------------------


def test_a_class_is_made_with_its_host_and_its_settings(load):
    @frozen
    class Limits:
        most: int = 7

    class Takes(Good):
        settings = Limits
        section = "limits"

        def __init__(self, host):
            self.host = host

    class TakesByKeyword(Takes):
        section = "by_keyword"

        def __init__(self, *, host):
            super().__init__(host)

    class TakesNothing(Good):
        def __init__(self, log=()):
            self.log = log

    plugin_set = load(extra={"takes": Takes, "by-keyword": TakesByKeyword, "nothing": TakesNothing})
    made = {loaded.info.name: loaded.object for loaded in plugin_set.plugins}
    assert made["takes"].host.settings == Limits(most=7)
    assert made["takes"].host.core == "limits"
    assert made["by-keyword"].host.core == "by_keyword"
    assert made["nothing"].log == ()


def test_settings_are_checked_also_of_a_plugin_that_takes_no_host(load):
    asked = []

    @frozen
    class Limits:
        most: int = 7

    class Silent(Good):
        settings = Limits

    plugin_set = load(extra={"my-silent": Silent}, make_host=lambda *args: asked.append(args))
    assert plugin_set.names == ("my-silent",)
    assert [(section, settings) for _, section, settings in asked] == [("my_silent", Limits)]


def test_settings_classes_are_known_before_anything_is_made():
    @frozen
    class Limits:
        pass

    class Silent(Good):
        settings = Limits

        def __init__(self):
            pytest.fail("made too early")

    candidates = plugins.collect((), core_version="1", extra={"my-silent": Silent, "good": Good})
    assert candidates.sections == {"my_silent": Limits}


def test_a_module_and_an_instance_are_plugins_too(env, load):
    env.plugin(
        "module",
        "from noodle_upgrade_core.hookspecs import hookimpl\n@hookimpl\ndef discover(): return []\n",
        value="zoo_module",
    )
    env.plugin("instance", GOOD + "\nmade = Plugin()\n", value="zoo_instance:made")
    plugin_set = load()
    assert plugin_set.names == ("instance", "module")
    assert [one.plugin_name for one in plugin_set.implementations("discover")] == ["instance", "module"]


def test_a_plugin_of_the_program_itself_wins_over_an_installed_one_and_obeys_disabled(env, load):
    env.plugin("mine", "raise RuntimeError")
    own = Good()
    plugin_set = load(extra={"mine": own}, enabled=["other-one", "mine"])
    assert plugin_set.plugins[0].object is own
    assert plugin_set.info("mine").distribution == ""
    assert load(extra={"mine": own}, disabled=["mine"]).names == ()


def test_plugins_that_are_equal_to_one_another_are_still_two(load):
    @frozen
    class Equal:
        @hookimpl
        def discover(self):
            return []

    plugin_set = load(extra={"one": Equal(), "two": Equal()})
    assert len(plugin_set.implementations("discover")) == 2


# --- do the hooks fit --------------------------------------------------------------------------------------------


def hooks(**functions):
    return type("Plugin", (), functions)


def test_a_hook_that_does_not_exist_is_named_with_the_valid_ones(load):
    @hookimpl
    def valdate(self, plan):
        pass

    error = only_failure(load(extra={"typo": hooks(valdate=valdate)}))
    assert error.message == "The plugin 'typo' implements the hook 'valdate', which does not exist."
    assert "Did you mean 'validate'?" in error.hint
    assert error.details["valid"] == list(hook_arguments())


def test_an_argument_that_does_not_exist_is_named_with_the_valid_ones(load):
    @hookimpl
    def validate(self, plna, stage):
        pass

    @hookimpl
    def validate_keyword(self, *, plna):
        pass

    @hookimpl
    def validate_positional(self, plan, /):
        pass

    for function in (validate, validate_keyword):
        error = only_failure(load(extra={"typo": hooks(validate=function)}))
        assert "'plna' in 'validate'" in error.message or "plna" in error.message
    error = only_failure(load(extra={"typo": hooks(validate=validate_keyword)}))
    assert error.message == "The plugin 'typo' wants an argument 'plna' in 'validate', which has no such argument."
    assert error.hint == "Did you mean 'plan'? 'validate' has: plan, stage, context."
    assert only_failure(load(extra={"typo": hooks(validate=validate_positional)})).details["argument"] == "plan"


def test_a_plugin_without_marks_is_told_which_methods_lack_one(load):
    class Unmarked:
        def validate(self, plan):
            return []

        def decide(self):
            return None

    error = only_failure(load(extra={"unmarked": Unmarked}))
    assert error.hint == "Put @hookimpl from noodle_upgrade_core before: validate, decide."


def test_hooks_behind_getattr_are_not_found_and_that_is_said(load):
    class Proxy:
        def __getattr__(self, name):
            return getattr(Good(), name)

    assert "implements no hook" in only_failure(load(extra={"proxy": Proxy()})).message


def test_a_function_in_the_instance_is_a_hook(load):
    class Bare:
        def __init__(self):
            self.discover = hookimpl(lambda: [])  # noqa: PIE807 - `list` is no function to pluggy

    assert load(extra={"bare": Bare}).hooks_of("bare") == ("discover",)


def test_wrappers_are_refused(load):
    for options in ({"wrapper": True}, {"hookwrapper": True}):

        @hookimpl(**options)
        def discover(self):
            yield

        assert "cannot be wrapped" in only_failure(load(extra={"wraps": hooks(discover=discover)})).message


def test_observe_must_not_be_async_and_every_other_hook_may_be(load):
    @hookimpl
    async def observe(self, event):
        pass

    assert "'observe' with `async def`" in only_failure(load(extra={"late": hooks(observe=observe)})).message

    @hookimpl
    async def decide(self):
        pass

    @hookimpl
    async def discover(self):
        yield

    plugin_set = load(extra={"fine": hooks(decide=decide, discover=discover)})
    assert plugin_set.failures == ()
    assert plugin_set.implementations("decide")[0].asynchronous
    assert plugin_set.implementations("discover")[0].asynchronous


def test_arguments_with_a_default_keywords_and_a_catch_all_are_given_what_they_name(load):
    @hookimpl
    def validate(self, plan, context=None, verbose=False, *, stage):
        return []

    @hookimpl
    def decide(self, **everything):
        return None

    @hookimpl(specname="assess")
    def my_way(self, *rest, step):
        return None

    @hookimpl(optionalhook=True)
    def of_the_future(self, whatever):
        return None

    made = hooks(validate=validate, decide=decide, my_way=my_way, of_the_future=of_the_future)
    plugin_set = load(extra={"wide": made})
    assert plugin_set.failures == ()
    given_to = {h: i.argnames for h in hook_arguments() for i in plugin_set.implementations(h)}
    assert given_to == {
        "validate": ("plan", "context", "stage"),
        "decide": ("plan", "context"),
        "assess": ("step",),
    }
    assert plugin_set.hooks_of("wide") == ("assess", "validate", "decide")


def test_an_async_close_is_refused(load):
    class Late(Good):
        async def close(self):
            pass

    assert "`close` of the plugin 'late' is `async`" in only_failure(load(extra={"late": Late})).message


# --- order -------------------------------------------------------------------------------------------------------


def placed(**wishes):
    return type("Placed", (Good,), wishes)


def test_the_order_is_that_of_the_names_unless_a_plugin_says_otherwise(load):
    plugin_set = load(extra={"b": placed(), "c": placed(before=("a_x", "gone")), "a-x": placed(), "d": placed()})
    assert plugin_set.names == ("b", "c", "a-x", "d")
    assert load(extra={"a": placed(after=["z"]), "z": placed(), "m": placed()}).names == ("m", "z", "a")


def test_a_circle_is_named_and_only_its_members_are_left_out(load):
    extra = {"a": placed(after=("b",)), "b": placed(after=("c",)), "c": placed(after=("a",)), "d": placed(after=("a",))}
    plugin_set = load(extra=extra)
    assert plugin_set.names == ("d",)
    assert {failure.info.name for failure in plugin_set.failures} == {"a", "b", "c"}
    assert plugin_set.failures[0].error.details["cycle"] == ["a", "b", "c"]
    assert "a after b after c after a" in plugin_set.failures[0].error.message
    with pytest.raises(PluginBrokenError, match="circular"):
        load(extra=extra, required=["b"])


def test_a_plugin_that_wants_to_be_before_itself_is_a_circle_of_one(load):
    assert "circular" in only_failure(load(extra={"self": placed(before=("self",))})).message


@pytest.mark.parametrize("wrong", ["runtime", 3, (1,), len])
def test_an_order_that_is_no_tuple_of_names_is_refused(load, wrong):
    plugin_set = load(extra={"a": placed(), "odd": placed(before=wrong)})
    assert plugin_set.names == ("a",)
    assert "must be a tuple of plugin names" in plugin_set.failures[0].error.message


def test_tryfirst_and_trylast_go_before_the_order_of_the_plugins(load):
    @hookimpl(tryfirst=True)
    def first(self):
        return []

    @hookimpl(trylast=True)
    def last(self):
        return []

    plugin_set = load(extra={"a": hooks(discover=last), "b": Good, "c": hooks(discover=first)})
    assert [one.plugin_name for one in plugin_set.implementations("discover")] == ["c", "b", "a"]
    assert plugin_set.names == ("a", "b", "c")


NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
WISHES = st.dictionaries(NAMES, st.tuples(st.sets(NAMES, max_size=2), st.sets(NAMES, max_size=2)), min_size=1)


@given(WISHES, st.randoms(use_true_random=False))
def test_every_order_keeps_every_wish_and_does_not_depend_on_how_it_was_put_together(wishes, random):
    def made(names):
        extra = {
            name: placed(before=tuple(sorted(wishes[name][0])), after=tuple(sorted(wishes[name][1]))) for name in names
        }
        return plugins.load((), core_version="1", make_host=lambda *_: None, extra=extra)

    plugin_set = made(wishes)
    shuffled = list(wishes)
    random.shuffle(shuffled)
    assert made(shuffled).names == plugin_set.names
    place = {name: number for number, name in enumerate(plugin_set.names)}
    failed = {failure.info.name for failure in plugin_set.failures}
    assert place.keys() | failed == wishes.keys()
    assert not place.keys() & failed
    for name, (before, after) in wishes.items():
        if name in place:
            assert all(place[name] < place[other] for other in before if other in place)
            assert all(place[name] > place[other] for other in after if other in place)


# --- the set -----------------------------------------------------------------------------------------------------


def test_a_set_can_be_recorded_and_two_equal_sets_have_one_digest(env, load):
    env.plugin("one", GOOD, version="1.2")
    env.plugin("two", GOOD)
    plugin_set = load()
    assert plugin_set.to_lock() == (
        {"name": "one", "distribution": "acme-one", "version": "1.2", "value": "zoo_one:Plugin"},
        {"name": "two", "distribution": "acme-two", "version": "1.0", "value": "zoo_two:Plugin"},
    )
    assert plugin_set.digest() == load().digest()
    assert plugin_set.digest() != load(disabled=["two"]).digest()


def test_a_set_cannot_be_changed(load):
    plugin_set = load(extra={"one": Good})
    with pytest.raises(AttributeError):
        plugin_set.plugins = ()
    assert isinstance(plugin_set.implementations("discover"), tuple)
    assert plugin_set.implementations("validate") == ()
    with pytest.raises(ValueError, match="no hook 'nothing'"):
        plugin_set.implementations("nothing")


def test_info_knows_loaded_and_failed_plugins_and_suggests_for_others(load):
    plugin_set = load(extra={"one": Good, "bad": object})
    assert plugin_set.info("one").value.endswith(":Good")
    assert plugin_set.info("bad").name == "bad"
    with pytest.raises(InvalidRequestError) as caught:
        plugin_set.info("onne")
    assert caught.value.hint == "Did you mean 'one'?"


def test_closing_closes_every_plugin_last_first_whatever_the_others_do(load, monkeypatch):
    monkeypatch.setattr("noodle_upgrade_core.plugins.loading.CLOSE_SECONDS", 0.2)
    closed = []
    release = threading.Event()

    def closing(name, ends=None):
        def close(_self):
            closed.append(name)
            if ends is not None:
                ends()

        return type("Closing", (Good,), {"close": close})

    plugin_set = load(
        extra={
            "a": closing("a"),
            "b": closing("b", sys.exit),
            "c": closing("c", release.wait),
            "d": closing("d"),
            "e": Good,
        }
    )
    failures = plugin_set.close()
    release.set()
    assert closed == ["d", "c", "b", "a"]
    assert [(failure.info.name, type(failure.error)) for failure in failures] == [
        ("c", PluginTimeoutError),
        ("b", PluginBrokenError),
    ]


def test_a_function_that_a_module_imported_is_not_its_close(load):
    module = types.ModuleType("zoo_closer")
    exec(GOOD.replace("class Plugin:", "if True:").replace("(self)", "()"), vars(module))
    module.close = sys.exit
    assert load(extra={"closer": module}).close() == ()


def test_an_instance_with_a_findings_hook_is_taken_as_it_is(load):
    class Notes(Good):
        @hookimpl
        def validate(self, plan):
            yield Finding(severity="info", code="x", message="y")

    own = Notes()
    plugin_set = load(extra={"notes": own})
    assert plugin_set.implementations("validate")[0].function.__self__ is own
