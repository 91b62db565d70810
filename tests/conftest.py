"""What every test stands on: one thread for the arithmetic, no hub, a home with the demo in it, and one browser."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.studio_process import CHROMIUM
from trainer.contract.presets import Preset, load_preset

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Before torch is imported anywhere: two busy processes with two threads each on two cores are 5 to 9 times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

ROOT = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test in the browser may be tried three times: on shared machines a wait runs out when others are busy."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=2))


def trainer(*words: str | Path, timeout: float = 240, check: bool = False) -> subprocess.CompletedProcess[str]:
    """`python -m trainer WORDS`, to its end."""
    command = [sys.executable, "-m", "trainer", *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=check
    )


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What programs find and keep for a user, the index of images and encoded ones, belongs to this session alone.

    Otherwise tests would answer for what sessions of other versions, at the same time, left in the user's own cache.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATELIER_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """A headless Chromium, one for all tests: Playwright's sync API runs once in a process. Skips where none is."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def made_demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the demo in it, made once by the program itself; tests take copies of it."""
    home = tmp_path_factory.mktemp("made")
    done = trainer("demo", "--make", "--home", home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def home(made_demo: Path, tmp_path: Path) -> Path:
    """A home of one's own with the demo in it, in a folder with the letters that users have in theirs."""
    own = tmp_path / "Jörg's studio (1)"
    shutil.copytree(made_demo, own)
    return own


@pytest.fixture
def demo_values(home: Path) -> Callable[..., dict[str, object]]:
    """The demo's values in `home`, cut to a few steps, with changes."""

    def values(**changes: object) -> dict[str, object]:
        preset = load_preset(ROOT / "presets" / "demo.json", base=home)
        assert isinstance(preset, Preset)
        short = {
            "max_train_epochs": None,
            "max_train_steps": 6,
            "lr_warmup_steps": 0,
            "sample_prompts": "a sks star --s 2 --l 1",
            "sample_every_n_epochs": 1,
        }
        return {**preset.values, **short, **changes}

    return values
