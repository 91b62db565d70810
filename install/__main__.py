"""What setup.sh and setup.ps1 call: `python -m install [test | demo] [arguments]`, from the project folder.

Brings .venv up to date (seconds when it is), then becomes what was asked for: the studio, the tests or the demo.
Exit code 1 when the installation cannot go on, else that of the program.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from install.choice import SetupStopped, choose_torch, read_torch_release
from install.environment import (
    Environment,
    digest,
    ensure_space,
    is_current,
    make_folder,
    private_downloads,
    read_note,
    write_note,
)
from install.machine import Machine, look
from install.packages import GIGABYTES_NEEDED, install, list_wheels, prove, try_xformers

NOTE_FORMAT = 1
USAGE = """Atelier, set up in the folder .venv beside this script and started:

  setup                     open the studio in the browser, with the demo preset loaded
  setup --port 7900 ...     the same; arguments go to app.py
  setup test [arguments]    run all tests; arguments go to pytest
  setup demo [arguments]    train the demo to the end in the terminal

UV_TORCH_BACKEND=cpu, cu126 or cu130 in the environment overrides the choice of the PyTorch build."""


@dataclass(frozen=True, slots=True)
class Task:
    """What to run with the Python of .venv, and the requirements files that it needs."""

    arguments: tuple[str, ...]
    requirements: tuple[str, ...] = ("requirements.txt",)
    variables: tuple[tuple[str, str], ...] = ()


def choose_task(words: Sequence[str]) -> Task:
    """The task that the words of the command line ask for."""
    if words[:1] == ["test"]:
        # Two torch processes with two threads each on two cores are 5 to 9 times slower than with one.
        return Task(
            ("-m", "pytest", *words[1:]), ("requirements.txt", "tests/requirements.txt"), (("OMP_NUM_THREADS", "1"),)
        )
    if words[:1] == ["demo"]:
        return Task(("-m", "trainer", "demo", *words[1:]))
    return Task(("app.py", "--preset", "demo", *words))


def prepare(environment: Environment, names: Sequence[str], machine: Machine) -> None:
    """Bring .venv to the state that the requirements files `names` ask for; the first of them pins torch.

    Returns at once when the note in .venv says that it is in that state. Raises SetupStopped.
    """
    machine = make_folder(environment, machine)
    requirements = [environment.root / name for name in names]
    digests = {name: digest(path) for name, path in zip(names, requirements, strict=True)}
    asked = os.environ.get("UV_TORCH_BACKEND") or None
    wanted = {"format": NOTE_FORMAT, "machine": machine.describe(), "asked": asked}
    note = read_note(environment.note)
    if is_current(note, wanted, digests):
        return
    print(f"Setting up {environment.folder}\n  machine: {machine.describe()}", flush=True)
    environment.note.unlink(missing_ok=True)
    with private_downloads(environment) as variables:
        release = read_torch_release(requirements[0].read_text("utf-8"))
        choice = choose_torch(machine, release, list_wheels(environment, variables), asked)
        print(f"  PyTorch {release}: {choice.backend} build, by {choice.installer} ({choice.reason})", flush=True)
        ensure_space(environment.root, GIGABYTES_NEEDED[choice.build])
        install(environment, choice, requirements, variables)
        proof = prove(environment, choice)
        if choice.build == "cuda":
            try_xformers(environment, variables)
    # Files of another verb stay noted: "setup test" after "setup" adds pytest, and both are then current.
    files = (note.get("files", {}) if is_current(note, wanted, {}) else {}) | digests
    write_note(environment.note, wanted | {"files": files, "proof": proof})
    print(f"  ready: {proof['summary']}\n", flush=True)


def become(command: Sequence[str], variables: dict[str, str]) -> int:
    """Run the program in our place, so that signals and the exit code are its own."""
    sys.stdout.flush()
    if os.name != "nt":
        os.execve(command[0], list(command), variables)
    # Windows has no exec: the new process would outlive the prompt. Ctrl+C reaches both; the program decides.
    with subprocess.Popen(command, env=variables) as program:
        while True:
            try:
                return program.wait()
            except KeyboardInterrupt:
                continue


def main(words: list[str]) -> int:
    """Prepare and run; the exit code."""
    if words[:1] in (["help"], ["--help"], ["-h"]):
        print(USAGE)
        return 0
    environment = Environment(Path(__file__).resolve().parents[1])
    task = choose_task(words)
    try:
        prepare(environment, task.requirements, look())
    except SetupStopped as stopped:
        print(f"\nSetup stopped. {stopped}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nSetup was interrupted. Run it again: what is there already is kept.", file=sys.stderr)
        return 1
    os.chdir(environment.root)
    variables = {**dict(task.variables), **os.environ}
    return become([str(environment.python), *task.arguments], variables)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
