import json

import pytest

from noodle_upgrade_core.config import load_settings
from noodle_upgrade_core.errors import SettingsError
from noodle_upgrade_core.model import ValidationLevel
from noodle_upgrade_runtime.settings import RuntimeSettings

DOCUMENT = {
    "runtime": {
        "upgrade_integration": {
            "enabled": True,
            "auto_sync": True,
            "sync_interval": 60.0,
            "max_concurrent_upgrades": 3,
            "enable_runtime_coordination": True,
            "enable_performance_monitoring": True,
            "enable_error_recovery": True,
        },
        "components": {
            "auto_discovery": True,
            "hot_swappable_default": True,
            "critical_components": ["memory_manager", "vm_engine"],
        },
        "coordination": {"upgrade_timeout": 30.0, "rollback_timeout": 60.0, "validation_level": "strict"},
    }
}


def load(tmp_path, document, **environ):
    file = tmp_path / "runtime.json"
    file.write_text(json.dumps(document))
    return load_settings([file], environ=environ, sections={"runtime": RuntimeSettings}).section("runtime")


def test_the_document_is_accepted_as_it_is_and_every_value_lands(tmp_path):
    settings = load(tmp_path, DOCUMENT)
    assert settings.upgrade_integration.sync_interval == 60.0
    assert settings.components.critical_components == ("memory_manager", "vm_engine")
    assert settings.coordination.validation_level is ValidationLevel.STRICT
    assert settings.coordination.rollback_timeout == 60.0


def test_the_variables_win_over_the_document(tmp_path):
    settings = load(
        tmp_path,
        DOCUMENT,
        NOODLE_RUNTIME_UPGRADE_INTEGRATION="0",
        NOODLE_RUNTIME_UPGRADE_SYNC="no",
        NOODLE_RUNTIME_UPGRADE_SYNC_INTERVAL="5",
        NOODLE_RUNTIME_UPGRADE_TIMEOUT="12.5",
        NOODLE_CRITICAL_COMPONENTS="a,b",
    )
    assert not settings.upgrade_integration.enabled
    assert not settings.upgrade_integration.auto_sync
    assert settings.upgrade_integration.sync_interval == 5.0
    assert settings.coordination.upgrade_timeout == 12.5
    assert settings.components.critical_components == ("a", "b")


@pytest.mark.parametrize(
    ("key", "value"),
    [("quiesce", -1), ("quiesce", True), ("on_busy", "kill"), ("rehearsal", 1), ("unknown", 1)],
)
def test_a_wrong_value_or_key_is_refused_by_name(tmp_path, key, value):
    with pytest.raises(SettingsError, match=key):
        load(tmp_path, {"runtime": {key: value}})
