"""The settings of deployments as a command reads them that needs no running program."""

from __future__ import annotations

import click

from noodle_upgrade_core.config import default_files, load_settings
from noodle_upgrade_deployment.settings import DeploymentSettings

__all__ = ["deployment_settings"]


def deployment_settings(ctx: click.Context) -> DeploymentSettings:
    """Return the section `deployment` of the files that `--config` names, else of those that a program here would read.

    Raises `SettingsError` with all problems.
    """
    files = getattr(ctx.obj, "config", ()) or default_files()
    section: DeploymentSettings = load_settings(files, sections={"deployment": DeploymentSettings}).section(
        "deployment"
    )
    return section
