"""Put packages where a program finds them, as an installer does, without touching the environment of the tests."""

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["DISTRIBUTIONS", "ROOT", "Environment", "from_index", "into", "plugin", "wheel_of"]

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {"noodle-upgrade-core": ROOT} | {
    path.parent.name: path.parent for path in sorted(ROOT.glob("plugins/*/pyproject.toml"))
}
"""Our own distributions, and where their sources are."""


def from_index(folder, *requirements):
    """Install published packages into a folder."""
    words = ["--quiet", "--no-deps", "--disable-pip-version-check", "--target", str(folder), *requirements]
    subprocess.run([sys.executable, "-m", "pip", "install", *words], check=True, capture_output=True)


def into(folder, wheel):
    """Install a wheel into a folder; what it needs is there already."""
    from_index(folder, "--no-index", str(wheel))
    return folder


def wheel_of(project, folder):
    """Build a project's wheel with the backend that is installed here."""
    words = ["--wheel", "--no-isolation", "--outdir", str(folder), str(project)]
    done = subprocess.run([sys.executable, "-m", "build", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = Path(folder).glob("*.whl")
    return wheel


def plugin(folder, name, source, cls, *, requires="noodle-upgrade-core>=0.1,<0.2"):
    """Write a plugin of one module with the metadata that an installer would leave; returns the folder."""
    module = name.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    info = folder / f"{module}-1.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\nRequires-Dist: {requires}\n")
    (info / "entry_points.txt").write_text(f"[noodle_upgrade.plugins]\n{name} = {module}:{cls}\n")
    (info / "RECORD").write_text("")
    return folder


class Environment:
    """A new virtual environment: nothing is in it but what a test installs, and our own distributions as wheels."""

    def __init__(self, folder, wheels):
        self.folder = Path(folder)
        self.python = str(self.folder / "bin" / "python")
        self._wheels = wheels
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)

    def install(self, *requirements):
        """Install these and what they declare; ours come from the wheels, the rest from the index."""
        words = ["--quiet", "--disable-pip-version-check", "--find-links", str(self._wheels), *map(str, requirements)]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, "install", *words],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr

    def run(self, *words, cwd):
        """Run its Python; returns the finished process, with its output as text."""
        # Nothing of the environment that runs the tests may be importable here.
        env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.run(
            [self.python, *map(str, words)], cwd=cwd, env=env, capture_output=True, text=True, check=False
        )
