"""Make the demo in a home: its two models from presets/demo, and its pictures, in about a second and without torch.

Comes in: a home. Goes out: `demo/model`, `demo/model-v2` and the folders of `trainer.demo.pictures`. What lay in
`demo` before is set aside, never written over.
"""

import shutil
import tempfile
from pathlib import Path

from trainer.demo.pictures import draw_pictures
from trainer.demo.place import demo_folder, mark_made
from trainer.model.tokenizer import Family, load_tokenizer

SHIPPED = Path(__file__).resolve().parents[2] / "presets" / "demo"
MODELS: dict[str, Family] = {"model": "v1", "model-v2": "v2"}
"""Folder -> family. The second has no VAE of its own, and no tokenizer lies in presets/demo: both are put in here."""


def make_demo(home: Path) -> Path:
    """Make the demo anew and return its folder. Raises OSError; until all is written, nothing of it is in its place."""
    folder = demo_folder(home)
    home.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="demo-partial-", dir=home))
    try:
        for name, family in MODELS.items():
            shutil.copytree(SHIPPED / name, partial / name)
            shutil.copytree(SHIPPED / "model" / "vae", partial / name / "vae", dirs_exist_ok=True)
            load_tokenizer(family).write(partial / name / "tokenizer")
        draw_pictures(partial)
        mark_made(partial)
        if folder.exists():
            folder.rename(_free(folder))
        # mkdtemp lets in nobody else; the demo is as open as all other folders of the home.
        partial.chmod(home.stat().st_mode & 0o777)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def not_made(home: Path, reason: OSError) -> str:
    """What to tell where the demo cannot be made."""
    return (
        f"The demo cannot be made in {home}: {reason.strerror or reason}. Allow writing there and free 60 MB, or name "
        "another folder with --home."
    )


def _free(folder: Path) -> Path:
    number = 1
    while (aside := folder.with_name(f"{folder.name}-before-{number}")).exists():
        number += 1
    return aside
