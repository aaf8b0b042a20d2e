"""The program of `noodle compile --daemon`: a compiler that is warm, and does nothing by itself.

It is hosted like any other program (`noodle run -m noodle_upgrade_compiler.daemon`): what it is asked for comes over
the control API, and its phases are upgraded while it serves.
"""

from __future__ import annotations

import threading

from noodle_upgrade_compiler.compiler import process_compiler

__all__ = ["main"]


def main() -> None:
    """Keep the compiler at hand until the process is told to end."""
    compiler = process_compiler()
    compiler.check(compiler.current)  # so that the first one who asks does not wait for it
    threading.Event().wait()


if __name__ == "__main__":
    main()
