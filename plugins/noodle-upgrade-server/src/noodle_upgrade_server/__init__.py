"""The control API of a running program, and what hosts a program: `serve(upgrader)`, `noodle run`."""

from __future__ import annotations

from noodle_upgrade_server.limits import Limits
from noodle_upgrade_server.serve import ControlServer, HttpServer, serve

__all__ = ["ControlServer", "HttpServer", "Limits", "serve"]
