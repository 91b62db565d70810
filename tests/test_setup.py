"""The installer: which build of torch goes where, when nothing is to do, and that the scripts are whole."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell

from bitsandbytes_windows import check as bitsandbytes_check
from install.__main__ import choose_task, prepare
from install.choice import SetupStopped, choose_torch, find_wheel, read_torch_release, torch_fits
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
from install.machine import Machine, Nvidia, look
from install.packages import (
    explain_failure,
    list_rest_command,
    list_torch_commands,
    read_find_links,
    read_installed_torch,
)

ROOT = Path(__file__).resolve().parents[1]
CPU_WHEEL = "torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl"

LINUX = Machine("linux", "x86_64", (3, 11))
ARM = Machine("linux", "aarch64", (3, 12))
WINDOWS = Machine("windows", "amd64", (3, 12))
MAC = Machine("darwin", "arm64", (3, 12))
TURING = Nvidia((13, 0), ((7, 5),))
PASCAL = Nvidia((13, 0), ((6, 1),))
AMPERE_OLD_DRIVER = Nvidia((12, 4), ((8, 6),))
BLACKWELL_OLD_DRIVER = Nvidia((12, 8), ((12, 0),))
KEPLER = Nvidia((12, 0), ((3, 5),))
TWO_CARDS = Nvidia((13, 2), ((6, 1), (8, 9)))


def with_gpu(machine: Machine, nvidia: Nvidia) -> Machine:
    """The same machine with NVIDIA cards in it."""
    return Machine(machine.system, machine.processor, machine.python, nvidia)


@pytest.mark.parametrize(
    ("machine", "backend", "installer"),
    [
        (LINUX, "cpu", "uv"),
        (ARM, "cpu", "uv"),
        (WINDOWS, "cpu", "uv"),
        (MAC, "cpu", "pip"),
        (with_gpu(LINUX, TURING), "cu130", "pip"),
        (with_gpu(WINDOWS, TURING), "cu130", "uv"),
        (with_gpu(ARM, TURING), "cu130", "uv"),
        (with_gpu(LINUX, PASCAL), "cu126", "uv"),
        (with_gpu(WINDOWS, AMPERE_OLD_DRIVER), "cu126", "uv"),
        (with_gpu(LINUX, TWO_CARDS), "cu130", "pip"),
    ],
)
def test_build_follows_the_machine(machine: Machine, backend: str, installer: str) -> None:
    """CUDA where a card and its driver can use it, CPU elsewhere; uv wherever the registry has another build."""
    choice = choose_torch(machine, "2.13.0")
    assert (choice.backend, choice.installer) == (backend, installer)


@pytest.mark.parametrize("machine", [LINUX, ARM, WINDOWS, MAC])
@pytest.mark.parametrize("wheels", [(), (CPU_WHEEL,), (CPU_WHEEL.replace("+cpu", "+cu130"),)])
def test_no_cuda_without_nvidia(machine: Machine, wheels: tuple[str, ...]) -> None:
    """Without an NVIDIA GPU no command can bring a CUDA build, whatever wheels lie around."""
    choice = choose_torch(machine, "2.13.0", wheels)
    (*_, command) = list_torch_commands(Path("python"), choice, replace=False)
    assert choice.build == "cpu"
    assert machine is MAC or "torch==2.13.0+cpu" in command or command[-3:-1] == ["--torch-backend", "cpu"]


@pytest.mark.parametrize(("nvidia", "word"), [(BLACKWELL_OLD_DRIVER, "driver"), (KEPLER, "older than the oldest")])
def test_unusable_gpu_is_explained(nvidia: Nvidia, word: str) -> None:
    """A card that no build can use stops setup with what to do, and the CPU can be asked for instead."""
    machine = with_gpu(WINDOWS, nvidia)
    with pytest.raises(SetupStopped, match=word) as stopped:
        choose_torch(machine, "2.13.0")
    assert "UV_TORCH_BACKEND=cpu" in str(stopped.value)
    assert choose_torch(machine, "2.13.0", asked="cpu").backend == "cpu"


def test_asked_backend_wins() -> None:
    """UV_TORCH_BACKEND decides, except for "auto", which means that we do."""
    assert choose_torch(LINUX, "2.13.0", asked="cu126").backend == "cu126"
    assert choose_torch(LINUX, "2.13.0", asked="auto").backend == "cpu"


def test_local_wheel_is_taken() -> None:
    """A fitting wheel in a folder of pip's find-links is asked for by its full version, which no other build has."""
    choice = choose_torch(LINUX, "2.13.0", [CPU_WHEEL])
    assert (choice.installer, choice.requirement, choice.release) == ("pip", "torch==2.13.0+cpu", "2.13.0")


@pytest.mark.parametrize(
    "name",
    [
        CPU_WHEEL.replace("2.13.0", "2.12.0"),
        CPU_WHEEL.replace("cp311", "cp312"),
        CPU_WHEEL.replace("+cpu", "+cu130"),
        CPU_WHEEL.replace("+cpu", ""),
        CPU_WHEEL.replace("manylinux_2_28_x86_64", "win_amd64"),
        CPU_WHEEL.replace("x86_64", "aarch64"),
        CPU_WHEEL.replace(".whl", ".zip"),
        "torchvision" + CPU_WHEEL.removeprefix("torch"),
    ],
)
def test_other_wheels_are_left(name: str) -> None:
    """A wheel of another release, Python, build, system, processor or package is not taken."""
    assert find_wheel(LINUX, "2.13.0", [CPU_WHEEL], "cpu") == "2.13.0+cpu"
    assert find_wheel(LINUX, "2.13.0", [name], "cpu") is None


@pytest.mark.parametrize(
    ("version", "cuda", "backend", "fits"),
    [
        ("2.13.0+cpu", None, "cpu", True),
        ("2.13.0", None, "cpu", True),
        ("2.13.0+cu130", "13.0", "cpu", False),
        ("2.13.0+cu132", "13.2", "cu130", True),
        ("2.13.0+cu130", "13.0", "cu126", False),
        ("2.13.0+cpu", None, "cu130", False),
        ("2.12.0+cpu", None, "cpu", False),
    ],
)
def test_present_torch_stays_if_it_fits(version: str, cuda: str | None, backend: str, fits: bool) -> None:
    """The torch that is there is kept only with the right release and the right kind of build."""
    assert torch_fits({"version": version, "cuda": cuda}, "2.13.0", backend) is fits
    assert not torch_fits(None, "2.13.0", backend)


def test_other_build_is_removed_first() -> None:
    """pip takes 2.13.0+cpu for a 2.13.0 that is installed, so the wrong build goes before the right one comes."""
    choice = choose_torch(WINDOWS, "2.13.0")
    commands = list_torch_commands(Path("python"), choice, replace=True)
    assert [command[2:4] for command in commands] == [["pip", "uninstall"], ["pip", "install"], ["uv", "pip"]]
    assert list_rest_command(Path("python"), [Path("a b.txt")])[-2:] == ["--requirement", "a b.txt"]


def test_failure_names_the_way_out() -> None:
    """When PyTorch's site is out of reach the text says how a wheel brought by hand is found."""
    choice = choose_torch(LINUX, "2.13.0")
    (*_, command) = list_torch_commands(Path("python"), choice, replace=False)
    assert "PIP_FIND_LINKS" in explain_failure(command, choice)
    assert "PIP_FIND_LINKS" not in explain_failure(list_rest_command(Path("python"), []), choice)


def test_find_links_are_read_from_pip(tmp_path: Path) -> None:
    """pip's own answer about its configuration is understood, from the environment and from a file."""
    file = tmp_path / "pip.conf"
    file.write_text("[global]\nfind-links =\n    /first\n    file:///second\n", "utf-8")
    variables = {**os.environ, "PIP_CONFIG_FILE": str(file), "PIP_FIND_LINKS": "/third /fourth"}
    command = [sys.executable, "-m", "pip", "config", "list"]
    told = subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout
    assert {"/first", "file:///second", "/third", "/fourth"} <= set(read_find_links(told))


def test_present_torch_is_read() -> None:
    """The torch of these tests is read from disk as it says itself."""
    environment = Environment(ROOT)
    if not environment.python.exists():
        pytest.skip("these tests run in another environment than .venv")
    version = read_installed_torch(environment)
    assert version is not None
    assert str(version["version"]).startswith(read_torch_release((ROOT / "requirements.txt").read_text("utf-8")))


def test_machine_describes_itself() -> None:
    """Looking at this machine names its system, and a GPU only where the driver answers."""
    machine = look()
    assert machine.python == sys.version_info[:2]
    assert machine.system in machine.describe()
    assert ("no NVIDIA GPU" in machine.describe()) is (machine.nvidia is None)
    assert "2 NVIDIA GPUs, driver for CUDA 13.2" in with_gpu(LINUX, TWO_CARDS).describe()


def test_note_is_current_until_something_changes(tmp_path: Path) -> None:
    """The note holds for the same machine and files, whatever their line endings, and for nothing else."""
    file = tmp_path / "requirements.txt"
    file.write_bytes(b"torch==2.13.0\nnumpy\n")
    wanted, digests = {"format": 1, "machine": "a"}, {"requirements.txt": digest(file)}
    write_note(tmp_path / "note.json", wanted | {"files": digests | {"other.txt": "0"}})
    note = read_note(tmp_path / "note.json")
    assert is_current(note, wanted, digests)
    assert not is_current(note, wanted | {"machine": "b"}, digests)
    assert not is_current(note, wanted, digests | {"new.txt": "1"})
    file.write_bytes(b"torch==2.13.0\r\nnumpy\r\n")
    assert is_current(note, wanted, {"requirements.txt": digest(file)})
    file.write_bytes(b"torch==2.13.1\nnumpy\n")
    assert not is_current(note, wanted, {"requirements.txt": digest(file)})


@pytest.mark.parametrize("text", ["", "{", "[]", None])
def test_spoilt_note_means_install(tmp_path: Path, text: str | None) -> None:
    """A note that is missing, cut off or of another shape is no note."""
    if text is not None:
        (tmp_path / "note.json").write_text(text, "utf-8")
    assert read_note(tmp_path / "note.json") == {}
    assert not is_current({}, {"format": 1}, {"requirements.txt": "0"})


def test_downloads_stay_in_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip and uv write into .venv/tmp, which is gone afterwards; a cache that the user chose is left to him."""
    monkeypatch.setenv("UV_CACHE_DIR", "/elsewhere")
    monkeypatch.delenv("PIP_CACHE_DIR", raising=False)
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    environment = Environment(tmp_path)
    with private_downloads(environment) as variables:
        folder = Path(variables["TMPDIR"])
        assert folder.is_dir() and folder.is_relative_to(tmp_path)
        assert Path(variables["PIP_CACHE_DIR"]).is_relative_to(tmp_path)
        assert variables["UV_CACHE_DIR"] == "/elsewhere"
        assert "PIP_TARGET" not in variables
    assert not folder.exists()


def test_small_disk_is_said_before(tmp_path: Path) -> None:
    """Setup does not start an installation that the disk cannot hold."""
    ensure_space(tmp_path, 0)
    with pytest.raises(SetupStopped, match="GB free"):
        ensure_space(tmp_path, 10**9)


@pytest.mark.slow
def test_folder_is_made_and_mended(tmp_path: Path) -> None:
    """In a path with spaces and umlauts .venv is made, left alone, and made anew when its Python is broken."""
    environment = Environment(tmp_path / "ein schöner Ordner")
    environment.root.mkdir()
    machine = look()
    assert make_folder(environment, machine).python == machine.python
    mark = environment.folder / "mark"
    mark.touch()
    make_folder(environment, machine)
    assert mark.exists()
    environment.python.unlink()
    make_folder(environment, machine)
    assert environment.python.exists() and not mark.exists()


def test_old_python_is_explained(tmp_path: Path) -> None:
    """A Python that the packages do not support stops setup before anything is made."""
    environment = Environment(tmp_path)
    with pytest.raises(SetupStopped, match=r"needs Python 3\.11"):
        make_folder(environment, Machine("linux", "x86_64", (3, 9)))
    assert not environment.folder.exists()


def test_second_time_nothing_is_done(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With a current note setup neither asks pip nor prints anything."""
    environment = Environment(ROOT)
    names = ("requirements.txt", "tests/requirements.txt")
    if not environment.note.exists():
        pytest.skip("this .venv was not made by setup")
    monkeypatch.setenv("PATH", "")
    prepare(environment, names, look())
    assert capfd.readouterr() == ("", "")


def test_words_choose_the_task() -> None:
    """ "test" and "demo" are verbs, everything else goes to the studio; arguments are passed on as they are."""
    assert choose_task([]).arguments == ("app.py", "--preset", "demo")
    assert choose_task(["--port", "7900"]).arguments == ("app.py", "--preset", "demo", "--port", "7900")
    assert choose_task(["demo", "--json"]).arguments == ("-m", "trainer", "demo", "--json")
    task = choose_task(["test", "-k", "a b"])
    assert task.arguments == ("-m", "pytest", "-k", "a b")
    assert "tests/requirements.txt" in task.requirements
    assert dict(task.variables) == {"OMP_NUM_THREADS": "1"}


def test_installer_needs_nothing_installed() -> None:
    """The package install imports the standard library and itself: it runs before anything is there."""
    for file in sorted((ROOT / "install").glob("*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name.split(".")[0] for name in names} <= {*sys.stdlib_module_names, "install"}, file.name


def test_versions_agree() -> None:
    """The range of Pythons is the same in setup.sh, setup.ps1 and the installer."""
    from_python = re.search(
        r"PYTHON_FROM, PYTHON_BELOW = (\(3, \d+\)), (\(3, \d+\))", (ROOT / "install/environment.py").read_text("utf-8")
    )
    assert from_python
    for name in ("setup.sh", "setup.ps1"):
        asked = f"{from_python[1]} <= sys.version_info[:2] < {from_python[2]}"
        assert asked in (ROOT / name).read_text("utf-8"), name


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
@pytest.mark.parametrize("script", ["setup.sh", ".ci/run"])
def test_shell_scripts_are_clean(script: str) -> None:
    """shellcheck has nothing to say."""
    told = subprocess.run(["shellcheck", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.stdout == ""
    assert told.returncode == 0


@pytest.mark.skipif(os.name == "nt", reason="the script for Linux and macOS")
def test_missing_python_is_explained(tmp_path: Path) -> None:
    """Where no Python is found setup.sh ends with 1 and says what to install."""
    script = tmp_path / "setup.sh"
    shutil.copy(ROOT / "setup.sh", script)
    bash = shutil.which("bash")
    assert bash
    told = subprocess.run([bash, str(script)], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert "none was found" in told.stderr and "python3-venv" in told.stderr


@pytest.mark.skipif(os.name == "nt", reason="the script for Linux and macOS")
def test_setup_runs_from_anywhere(tmp_path: Path) -> None:
    """setup.sh finds its project from another folder, whatever CDPATH says."""
    variables = {**os.environ, "CDPATH": "/tmp"}
    command = [str(ROOT / "setup.sh"), "help"]
    told = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=True)
    assert "setup test" in told.stdout


def count_faults(script: bytes) -> int:
    """How many places of a PowerShell script the grammar does not understand."""
    language = tree_sitter.Language(tree_sitter_powershell.language())
    nodes, faults = [tree_sitter.Parser(language).parse(script).root_node], 0
    while nodes:
        node = nodes.pop()
        faults += node.is_error or node.is_missing
        nodes += node.children
    return faults


def test_powershell_script_parses() -> None:
    """setup.ps1 is PowerShell, and a script that lost a brace would be seen."""
    script = (ROOT / "setup.ps1").read_bytes()
    assert count_faults(script) == 0
    assert count_faults(script.rstrip() + b"\nif ($true) {\n") > 0
    # Windows PowerShell 5.1 reads a file without a mark in the local code page: other letters would be garbled.
    assert script.isascii()


def run_check(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """bitsandbytes_windows/check.py in a process of its own."""
    script = str(ROOT / "bitsandbytes_windows" / "check.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    command = [sys.executable, *options, script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_bitsandbytes_really_steps() -> None:
    """On this machine the check takes its 8-bit steps and says so."""
    told = run_check()
    assert told.returncode == 0, told.stdout + told.stderr
    assert told.stdout.startswith("8-bit AdamW works.")
    assert "state kept as uint8" in told.stdout


def test_bitsandbytes_check_without_packages() -> None:
    """Started with a Python that has no packages, it ends with 1 and names the right Python."""
    told = run_check("-S")
    assert told.returncode == 1
    assert "torch is not installed" in told.stdout and ".venv" in told.stdout


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "generation of GPU"),
        ("RuntimeError: The NVIDIA driver on your system is too old (found version 11040).", "older than"),
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB", "is full"),
        ("OSError: [WinError 126] The specified module could not be found", "Windows lacks"),
        ("RuntimeError: Method 'cadam_8bit' not available in CPU-only version of bitsandbytes.", "native library"),
        ("KeyError: 'something new'", "something new"),
    ],
)
def test_bitsandbytes_trouble_is_explained(said: str, word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch and bitsandbytes say is kept, explained, and followed by what to do."""
    monkeypatch.delenv("BNB_CUDA_VERSION", raising=False)
    finding = bitsandbytes_check.explain(said)
    assert not finding.works
    assert word in finding.what and said in finding.what
    assert "What to do: " in str(finding)


def test_forced_cuda_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forgotten BNB_CUDA_VERSION is found before anything else is suspected."""
    monkeypatch.setenv("BNB_CUDA_VERSION", "117")
    assert "BNB_CUDA_VERSION=117" in bitsandbytes_check.explain("RuntimeError: bitsandbytes: not found").what


def test_proof_reads_this_environment() -> None:
    """The proof imports every package and says which torch is there and whether it has a GPU."""
    script = str(ROOT / "install" / "proof.py")
    told = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    proof = json.loads(told.stdout.splitlines()[-1])
    assert proof["failed"] is None
    assert proof["torch"] in proof["summary"]
    if look().nvidia is None:
        assert (proof["cuda"], proof["gpu"]) == (None, None)
