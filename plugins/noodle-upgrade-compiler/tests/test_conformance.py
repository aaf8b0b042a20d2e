"""The core's conformance kit on this plugin."""

from noodle_upgrade_compiler.plugin import CompilerPlugin
from noodle_upgrade_compiler.settings import CompilerSettings
from noodle_upgrade_core.testing import parametrize_with_checks


@parametrize_with_checks(CompilerPlugin, settings=CompilerSettings())
def test_the_plugin_keeps_its_contract(check):
    check()
