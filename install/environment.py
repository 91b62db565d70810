"""The folder .venv: where it is, whether its Python runs, what was installed into it, where downloads go meanwhile.

In comes the project folder. Everything is written inside it, temporary files included. The note .venv/atelier.json
says what was installed, so that the next start compares a few hashes instead of asking pip (0.2 s instead of 5).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from install.choice import SetupStopped
from install.machine import Machine, Version

# numpy 2.4, diffusers 0.42 and transformers 5 need 3.11; numpy has no wheels for 3.15 yet.
PYTHON_FROM, PYTHON_BELOW = (3, 11), (3, 15)


@dataclass(frozen=True, slots=True)
class Environment:
    """The project folder and what follows from it."""

    root: Path

    @property
    def folder(self) -> Path:
        """The virtual environment."""
        return self.root / ".venv"

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    @property
    def note(self) -> Path:
        """What was installed into it."""
        return self.folder / "atelier.json"


def python_suits(version: Version) -> bool:
    """Whether Atelier runs on this version of Python."""
    return PYTHON_FROM <= version < PYTHON_BELOW


def make_folder(environment: Environment, machine: Machine) -> Machine:
    """Make .venv, or make it anew when its Python does not run any more or is one that Atelier does not run on.

    Returns the machine with the version of the Python in .venv, which need not be the one that runs us.
    """
    present = read_version(environment.python)
    if present is not None and python_suits(present):
        return replace(machine, python=present)
    if not python_suits(machine.python):
        raise SetupStopped(
            f"Atelier needs Python 3.11, 3.12, 3.13 or 3.14; this is {machine.python[0]}.{machine.python[1]} "
            f"({sys.executable}). Install one of them and run setup again."
        )
    print(f"Making {environment.folder} ...", flush=True)
    made = subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment.folder)], check=False)
    if made.returncode != 0:
        # Debian and Ubuntu ship Python without ensurepip; venv starts there and stops half-way.
        package = "python{}.{}-venv".format(*machine.python)
        raise SetupStopped(
            f"{sys.executable} could not make a virtual environment in {environment.folder}; the lines above say why. "
            f"On Debian and Ubuntu a package is usually missing: run 'sudo apt install {package}', then setup again. "
            "Otherwise check that this folder may be written to and that the disk is not full."
        )
    return machine


def read_version(python: Path) -> Version | None:
    """The version of this interpreter; None when it does not start."""
    question = "import sys; print(*sys.version_info[:2])"
    try:
        told = subprocess.run([str(python), "-c", question], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = map(int, told.stdout.split())
    return major, minor


def ensure_space(folder: Path, gigabytes: int) -> None:
    """Raise SetupStopped when the disk of `folder` has fewer gigabytes (10^9 bytes) free."""
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        raise SetupStopped(
            f"The installation needs about {gigabytes} GB and the disk of {folder} has {free:.1f} GB free. "
            "Make room there, or move this folder to a larger disk, and run setup again."
        )


@contextmanager
def private_downloads(environment: Environment) -> Iterator[dict[str, str]]:
    """Environment variables that keep pip's and uv's files in .venv/tmp, which is removed at the end.

    Caches in the user's home would be writes outside the project, and /tmp is often a memory disk too small for a
    CUDA wheel (2 to 3 GB unpacked). A cache folder that the user set is left as it is.
    """
    folder = environment.folder / "tmp"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    here = {name: str(folder) for name in ("TMPDIR", "TEMP", "TMP")}
    caches = {"PIP_CACHE_DIR": str(folder / "pip"), "UV_CACHE_DIR": str(folder / "uv")}
    # The choice of the build is handed to uv as a flag; pip must not be told to install elsewhere.
    dropped = {"UV_TORCH_BACKEND", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    try:
        yield {**caches, **kept, **here, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def digest(path: Path) -> str:
    """SHA-256 of a text file, the same for LF and CRLF checkouts."""
    return hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()


def is_current(note: Mapping[str, Any], wanted: Mapping[str, Any], digests: Mapping[str, str]) -> bool:
    """Whether the note was written for the `wanted` machine and for these requirements files, unchanged since."""
    files = note.get("files", {})
    return all(note.get(key) == value for key, value in wanted.items()) and digests.items() <= files.items()


def read_note(path: Path) -> dict[str, Any]:
    """The note; empty when there is none or it is not readable, which means: install again."""
    try:
        note = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def write_note(path: Path, note: Mapping[str, Any]) -> None:
    """Write the note whole or not at all."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(note, indent=2, sort_keys=True) + "\n", "utf-8")
    fresh.replace(path)
