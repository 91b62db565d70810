"""What must hold for every file of the repository: nothing dangerous, nothing of one machine, nothing unlisted."""

import ast
import fnmatch
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Put together here, so that this file does not hold what it looks for.
REGISTRY_HOSTS = tuple(
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("files", "pythonhosted", "org"),
        ("download", "pytorch", "org"),
        ("registry", "npmjs", "org"),
        ("conda", "anaconda", "org"),
        ("deb", "debian", "org"),
    )
)
MACHINE_PATHS = ("/" + "work/main", "/" + "work/shared", "../" + "shared", "/" + "opt/wheels", "/" + "root/")
VAGUE_NAMES = {"util", "utils", "common", "helper", "helpers", "base", "manager", "managers", "misc"}

# The one place that reads pickles: a restricted unpickler that maps every unknown global to an inert stub.
READS_PICKLES = "trainer/model/"

# Import name -> name in requirements, where they differ.
PACKAGE_NAMES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "pynvml": "nvidia-ml-py",
    "tree_sitter_powershell": "tree-sitter-powershell",
}


def list_files() -> list[Path]:
    """All files of the project, relative: what git tracks or would track; without git, what .gitignore lets pass."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        told = ""
    files = [Path(name) for name in told.split("\0") if name]
    return sorted(file for file in files if (ROOT / file).is_file()) or sorted(walk_files())


def walk_files() -> Iterator[Path]:
    """The files that the patterns of .gitignore let pass, for a copy that is no git repository."""
    patterns = [*(ROOT / ".gitignore").read_text("utf-8").split(), ".git"]  # a folder, or in a second work tree a file
    for path in ROOT.rglob("*"):
        relative = path.relative_to(ROOT)
        if path.is_file() and not any(is_ignored(relative, pattern) for pattern in patterns):
            yield relative


def is_ignored(path: Path, pattern: str) -> bool:
    """Whether a pattern of .gitignore (a name, a *.suffix or a /folder/) covers the path."""
    if pattern.startswith("/") or "/" in pattern.rstrip("/"):
        return path.as_posix().startswith(pattern.lstrip("/"))
    name = pattern.rstrip("/")
    parts = path.parts[:-1] if pattern.endswith("/") else path.parts
    return any(fnmatch.fnmatch(part, name) for part in parts)


FILES = list_files()
MODULES = [file for file in FILES if file.suffix == ".py"]


def read_text(file: Path) -> str | None:
    """The text of a file; None for a picture, a weight or any other file that is not UTF-8."""
    try:
        return (ROOT / file).read_text("utf-8")
    except UnicodeDecodeError:
        return None


def find_dangers(source: str, file: Path = Path("any.py")) -> list[str]:
    """What the code does that could run a stranger's code, as "line: what"."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            flags = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            restricted = file.as_posix().startswith(READS_PICKLES) and "pickle_module" in flags
            if name in ("eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "yaml.load"):
                found.append(f"{node.lineno}: {name}()")
            if flags.get("shell", "False") != "False":
                found.append(f"{node.lineno}: shell={flags['shell']}")
            if name == "torch.load" and flags.get("weights_only") != "True" and not restricted:
                found.append(f"{node.lineno}: torch.load() without weights_only=True")
            if flags.get("allow_pickle", "False") != "False":
                found.append(f"{node.lineno}: allow_pickle={flags['allow_pickle']}")
    return found


def list_tree(readme: str) -> set[str]:
    """The paths named in README's tree: fenced lines "name   what it is", what lies in a folder indented under it."""
    paths: set[str] = set()
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL):
        folders: list[tuple[int, str]] = []
        for line in block.splitlines():
            line = re.sub("[│├└─]", " ", line)
            name, indent = line.strip().split("  ")[0].strip(), len(line) - len(line.lstrip())
            if not re.fullmatch(r"[\w.][\w./-]*", name):
                continue
            while folders and folders[-1][0] >= indent:
                folders.pop()
            path = (folders[-1][1] if folders else "") + name
            paths.add(path)
            if name.endswith("/"):
                folders.append((indent, path))
    return paths


def test_files_are_found() -> None:
    """The checks below look at this project: without files they would all pass."""
    assert Path("requirements.txt") in FILES
    assert Path("tests/test_repository.py") in MODULES
    assert not [file for file in FILES if ".venv" in file.parts]


def test_walk_agrees_with_git() -> None:
    """A copy without git is looked at like the repository itself."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository here")
    assert {file.as_posix() for file in walk_files()} == {file.as_posix() for file in FILES}


def test_files_belong_to_no_machine() -> None:
    """No file names the host of a package registry or a folder of the machine it was written on."""
    texts = {file: read_text(file) or "" for file in FILES}
    needles = (*REGISTRY_HOSTS, *MACHINE_PATHS)
    assert not [f"{file}: {needle}" for file, text in texts.items() for needle in needles if needle in text]


def test_modules_run_no_strangers_code() -> None:
    """No shell, no eval, no pickle, no torch.load that could run what is in a file."""
    assert not [f"{file}:{danger}" for file in MODULES for danger in find_dangers(read_text(file) or "", file)]


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run('ls', shell=True)",
        "subprocess.run('ls', shell=flag)",
        "os.system('ls')",
        "eval('1')",
        "pickle.load(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, pickle_module=stub)",
        "numpy.load(path, allow_pickle=True)",
    ],
)
def test_danger_is_seen(line: str) -> None:
    """The check above sees each of the things that it is there for."""
    assert len(find_dangers(line)) == 1


def test_harmless_code_passes() -> None:
    """Code that only looks like it passes: model.eval(), weights_only=True, the restricted unpickler's own module."""
    assert not find_dangers("model.eval()\ntorch.load(path, weights_only=True)\nsubprocess.run(['ls'], shell=False)")
    assert not find_dangers("torch.load(path, pickle_module=stub)", Path("trainer/model/pickles.py"))


def test_modules_say_what_they_are() -> None:
    """Every Python module that is not empty opens with a docstring."""
    sources = {file: read_text(file) or "" for file in MODULES}
    assert not [
        str(file) for file, source in sources.items() if source.strip() and not ast.get_docstring(ast.parse(source))
    ]


def test_names_are_nouns() -> None:
    """No file or folder has a name that says nothing about what belongs in it."""
    assert not [file for file in FILES if {*file.parts[:-1], file.stem} & VAGUE_NAMES]


def test_readme_shows_every_module() -> None:
    """README's tree names every top-level file and folder and every module of gui, trainer and install."""
    readme = ROOT / "README.md"
    assert readme.exists(), "README.md with the tree of the project is missing"
    shown = list_tree(readme.read_text("utf-8"))
    top = {file.parts[0] + ("/" if len(file.parts) > 1 else "") for file in FILES}
    top = {name for name in top if not name.startswith(".")}
    modules = {file.as_posix() for file in MODULES if file.parts[0] in ("gui", "trainer", "install")}
    modules = {name for name in modules if not name.endswith("__init__.py")}
    assert not sorted((top | modules) - shown), "missing in README's tree"


def test_readme_tree_is_true() -> None:
    """What README's tree names exists: a path that ends in "/" is a folder, any other a file."""
    readme = ROOT / "README.md"
    assert readme.exists(), "README.md with the tree of the project is missing"
    ours = {file.parts[0] for file in FILES}
    shown = {path for path in list_tree(readme.read_text("utf-8")) if path.split("/")[0] in ours}
    assert shown
    assert not sorted(path for path in shown if not (ROOT / path).exists()), "in README's tree, but not on disk"


def test_tree_is_read() -> None:
    """The reader of the tree follows indentation, with or without drawn branches."""
    tree = "```\napp.py   Start.\ngui/\n  window.py  The page.\n  pages/\n    runs.py  Runs.\nLICENSE  Terms.\n```\n"
    drawn = "```text\n├── gui/\n│   └── window.py  The page.\n└── app.py  Start.\n```\n"
    assert list_tree(tree) == {"app.py", "gui/", "gui/window.py", "gui/pages/", "gui/pages/runs.py", "LICENSE"}
    assert list_tree(drawn) == {"gui/", "gui/window.py", "app.py"}


def list_imports(files: list[Path]) -> set[str]:
    """Top-level names of what the files import from outside the project and the standard library."""
    names: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(read_text(file) or "")):
            if isinstance(node, ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add((node.module or "").split(".")[0])
    ours = {file.parts[0].removesuffix(".py") for file in MODULES}
    return names - set(sys.stdlib_module_names) - ours


def read_pins(file: Path) -> dict[str, str]:
    """Package -> version of a requirements file; a line that pins nothing is a finding of its own."""
    lines = [line.split("#")[0].strip() for line in (read_text(file) or "").splitlines()]
    return dict(line.split("==") for line in lines if line)


def test_imports_are_pinned() -> None:
    """What the program imports stands in requirements.txt, what only tests import in tests/requirements.txt."""
    program = read_pins(Path("requirements.txt"))
    tests = program | read_pins(Path("tests/requirements.txt"))
    optional = {"xformers"}
    own = [file for file in MODULES if file.parts[0] != "tests"]
    for files, pins in ((own, program), (MODULES, tests)):
        names = {PACKAGE_NAMES.get(name, name.replace("_", "-")) for name in list_imports(files)} - optional
        assert not sorted(names - set(pins))


def test_pins_are_installed() -> None:
    """The versions that these tests run with are the pinned ones."""
    pins = read_pins(Path("requirements.txt")) | read_pins(Path("tests/requirements.txt"))
    # "2.13.0+cpu" is a build of 2.13.0.
    present = {name: importlib.metadata.version(name).partition("+")[0] for name in pins}
    assert present == pins
