"""The house: who may import whom, and what the window must never load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

ALLOWED = {
    "app": {"gui", "trainer.contract", "trainer.runs", "trainer.dataset", "trainer.demo.make", "trainer.demo.place"},
    "gui": {
        "gui",
        "trainer.contract",
        "trainer.runs",
        "trainer.dataset",
        "trainer.model.inspect",
        "trainer.model.saved_size",
        "trainer.model.tokenizer",
        "trainer.demo.place",
        "trainer.drawing.checkpoints",
        "trainer.drawing.request",
        "trainer.drawing.tasks",
    },
    "trainer.contract": {"trainer.contract"},
    "trainer.runs": {"trainer.runs", "trainer.contract"},
    "trainer.dataset": {"trainer.dataset", "trainer.contract"},
    "trainer.model": {"trainer.model", "trainer.contract"},
    "trainer.training": {
        "trainer.training",
        "trainer.__version__",
        "trainer.contract",
        "trainer.dataset",
        "trainer.model",
    },
    "trainer.drawing": {
        "trainer.drawing",
        "trainer.contract",
        "trainer.dataset",
        "trainer.model",
        "trainer.runs",
        "trainer.training",
    },
    "trainer.demo": {"trainer.demo", "trainer.contract", "trainer.model"},
    "trainer": {"trainer"},
}
"""The table of docs/architecture.md."""

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "bitsandbytes")


def modules() -> list[tuple[str, Path]]:
    """Every module of the program: dotted name, file."""
    files = [ROOT / "app.py", *ROOT.glob("gui/**/*.py"), *ROOT.glob("trainer/**/*.py")]
    return [(".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"), f) for f in files]


def imported(path: Path) -> set[str]:
    """Names of this project that a file imports, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module else set()
    return {name for name in names if name.split(".")[0] in ("gui", "trainer", "app")}


def house_of(module: str) -> str:
    """The row of the table that a module belongs to: the longest that fits."""
    return max((row for row in ALLOWED if module == row or module.startswith(row + ".")), key=len)


@pytest.mark.parametrize(("module", "path"), modules(), ids=lambda value: str(value) if isinstance(value, str) else "")
def test_imports_follow_the_table(module: str, path: Path) -> None:
    """No file imports from a package that its own package may not know."""
    allowed = ALLOWED[house_of(module)]
    strays = {name for name in imported(path) if not any(name == a or name.startswith(a + ".") for a in allowed)}
    assert not strays, f"{module} may not import {sorted(strays)}"


LIGHT = (
    "gui.window",
    "trainer.contract.cli",
    "trainer.runs.runner",
    "trainer.__main__",
    "trainer.drawing.drawer",
    "trainer.drawing.tasks",
)


@pytest.mark.parametrize("module", LIGHT)
def test_light_modules_stay_light(module: str) -> None:
    """A fresh interpreter that imports the window, the contract, a waiting process or the verbs has no torch in it."""
    code = f"import sys, {module}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_every_page_module_is_loaded_by_the_window() -> None:
    """The window imports its pages when it is built, so their imports count as well."""
    code = f"""
import sys
from pathlib import Path
from gui.studio import Studio
from gui.window import build
build(Studio(home=Path({str(ROOT / "tests" / "output" / "home")!r})))
print([m for m in {HEAVY!r} if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1] == "[]"
