"""Plugins: which are installed, which can be used, and the set that an Upgrader works with."""

from noodle_upgrade_core.plugins.loading import (
    Candidate,
    Candidates,
    Loaded,
    MakeHost,
    PluginFailure,
    PluginInfo,
    PluginSet,
    collect,
    index,
    load,
)

__all__ = [
    "Candidate",
    "Candidates",
    "Loaded",
    "MakeHost",
    "PluginFailure",
    "PluginInfo",
    "PluginSet",
    "collect",
    "index",
    "load",
]
