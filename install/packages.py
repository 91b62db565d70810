"""What goes into .venv and the proof that it works: the commands for pip and uv, run one after the other.

In come an `Environment`, a `TorchChoice` and the requirements files; out comes the proof (versions and GPU as the
installed packages report them). Raises SetupStopped when a command fails or when torch is not the build we chose.
"""

import ast
import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from install.choice import UV, XFORMERS, SetupStopped, TorchChoice, torch_fits
from install.environment import Environment

# Written disk space in gigabytes. The CPU build was measured (1.6 GB at the end, plus the wheel while it is
# unpacked); the CUDA build takes about 7 GB at the end.
GIGABYTES_NEEDED = {"cpu": 3, "cuda": 12}

# Prints version and CUDA version of the torch that is there without importing it (2 s), or null.
READ_TORCH = """
import importlib.util, json, pathlib, runpy
found = importlib.util.find_spec("torch")
file = pathlib.Path(found.origin).with_name("version.py") if found and found.origin else None
values = runpy.run_path(str(file)) if file and file.exists() else {}
print(json.dumps({"version": values.get("__version__"), "cuda": values.get("cuda")} if values else None))
"""


def install(
    environment: Environment, choice: TorchChoice, requirements: Sequence[Path], variables: dict[str, str]
) -> None:
    """Install torch as chosen, unless a fitting one is there, and then everything else."""
    installed = read_installed_torch(environment)
    commands = []
    if not torch_fits(installed, choice.release, choice.backend):
        commands += list_torch_commands(environment.python, choice, replace=installed is not None)
    commands.append(list_rest_command(environment.python, requirements))
    for command in commands:
        done = subprocess.run(command, env=variables, check=False)
        if done.returncode != 0:
            raise SetupStopped(explain_failure(command, choice))


def list_torch_commands(python: Path, choice: TorchChoice, *, replace: bool) -> list[list[str]]:
    """The commands that bring torch; `replace`: another build is there and goes first.

    uv fetches one wheel, torch itself; torch's own needs come with the rest, by pip and its configuration.
    """
    pip = [str(python), "-m", "pip"]
    commands = [[*pip, "uninstall", "--yes", "torch"]] if replace else []
    if choice.installer == "pip":
        return [*commands, [*pip, "install", choice.requirement]]
    uv = [str(python), "-m", "uv", "pip", "install", "--python", str(python), "--no-deps", "--compile-bytecode"]
    return [*commands, [*pip, "install", UV], [*uv, "--torch-backend", choice.backend, choice.requirement]]


def list_rest_command(python: Path, requirements: Sequence[Path]) -> list[str]:
    """The command that brings everything else; the torch that is there satisfies its pin and stays."""
    command = [str(python), "-m", "pip", "install"]
    for path in requirements:
        command += ["--requirement", str(path)]
    return command


def explain_failure(command: Sequence[str], choice: TorchChoice) -> str:
    """What to do when a command ended with a code other than 0."""
    general = (
        f"This command did not succeed: {' '.join(command)}\nThe lines above say why; most often there is no network, "
        "a proxy is not set (HTTPS_PROXY), or the disk is full. Run setup again: what is there already is kept."
    )
    if "--torch-backend" not in command:
        return general
    return (
        f"{general}\nIf PyTorch's download site cannot be reached from here, fetch the {choice.backend} wheel of "
        f"{choice.requirement} on another machine, put it into a folder, set the environment variable PIP_FIND_LINKS "
        "to that folder (no spaces in its path) and run setup again."
    )


def list_wheels(environment: Environment, variables: Mapping[str, str]) -> list[str]:
    """Names of the wheels in the local folders that pip is configured to look into (find-links)."""
    command = [str(environment.python), "-m", "pip", "config", "list"]
    told = subprocess.run(command, env=dict(variables), capture_output=True, text=True, check=False)
    folders = [Path(place.removeprefix("file://")) for place in read_find_links(told.stdout)]
    return [file.name for folder in folders if folder.is_dir() for file in folder.glob("*.whl")]


def read_find_links(config: str) -> list[str]:
    """The find-links in the output of "pip config list", whose values are written as Python strings."""
    places: list[str] = []
    for line in config.splitlines():
        key, _, value = line.partition("=")
        if key.endswith("find-links"):
            # pip splits the value at white space, too: a path with a space in it cannot be told to it.
            places += ast.literal_eval(value).split()
    return places


def read_installed_torch(environment: Environment) -> dict[str, str | None] | None:
    """`version` and `cuda` of the torch in .venv; None where there is none."""
    command = [str(environment.python), "-c", READ_TORCH]
    told = subprocess.run(command, cwd=environment.folder, capture_output=True, text=True, check=False)
    return json.loads(told.stdout) if told.returncode == 0 else None


def prove(environment: Environment, choice: TorchChoice) -> dict[str, Any]:
    """Import what was installed, in a process of its own, and hold torch's build against the choice."""
    script = Path(__file__).with_name("proof.py")
    command = [str(environment.python), str(script)]
    told = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    lines = told.stdout.splitlines()
    if told.returncode != 0 or not lines:
        raise SetupStopped(f"Python stopped while it tried the installed packages:\n{told.stdout}{told.stderr}")
    proof = json.loads(lines[-1])
    if proof["failed"]:
        raise SetupStopped(explain_proof(proof["failed"], environment))
    if choice.build == "cpu" and proof["cuda"] is not None:
        raise SetupStopped(
            f"The PyTorch in {environment.folder} is a CUDA build ({proof['torch']}), but no NVIDIA GPU answers on "
            f"this machine. Delete the folder {environment.folder} and run setup again."
        )
    if choice.build == "cuda" and not proof["gpu"]:
        print(
            f"  note: PyTorch {proof['torch']} does not see the NVIDIA GPU: {proof['why'] or 'no reason given'}\n"
            "        Trainings run on the CPU until the NVIDIA driver is updated and the computer restarted.",
            flush=True,
        )
    return proof


def explain_proof(failed: str, environment: Environment) -> str:
    """What to do when an installed package cannot be imported; `failed` is "name: what Python said"."""
    if "WinError 126" in failed or "WinError 1114" in failed:
        return (
            f"{failed}\nWindows lacks a library that this package needs: install the current Microsoft Visual C++ "
            "Redistributable (x64) from Microsoft's site, restart the computer and run setup again."
        )
    return f"{failed}\nThe installation is not whole. Delete the folder {environment.folder} and run setup again."


def try_xformers(environment: Environment, variables: dict[str, str]) -> bool:
    """Install xformers and keep it only if its attention computes on this GPU; without it torch's own is used.

    Its wheels are built for one torch release (--no-deps keeps ours) and with another they may load and do nothing.
    """
    pip = [str(environment.python), "-m", "pip"]
    fetched = subprocess.run([*pip, "install", "--no-deps", XFORMERS], env=variables, check=False)
    proof = [str(environment.python), str(Path(__file__).with_name("proof.py")), "xformers"]
    if fetched.returncode == 0 and subprocess.run(proof, capture_output=True, check=False).returncode == 0:
        print(f"  {XFORMERS} computes on this GPU and stays", flush=True)
        return True
    subprocess.run([*pip, "uninstall", "--yes", "xformers"], env=variables, check=False)
    print(f"  {XFORMERS} does not compute here; PyTorch's own attention (--sdpa) does the same work", flush=True)
    return False
