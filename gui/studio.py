"""What the pages share: where things lie on this machine, and the one form.

A `Studio` is made once at start and only read afterwards. Nothing about a session is kept in it: what a browser has
chosen lives in the components of its own page.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from gui.form import Form

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Studio:
    """Folders of this studio, and the form whose boxes stand on several pages.

    `home` holds what the studio writes (runs, own presets, the demo); `roots` are the folders that pages may list,
    `first_preset` is loaded when a page opens for the first time.
    """

    home: Path
    shipped_presets: Path = ROOT / "presets"
    roots: tuple[Path, ...] = ()
    first_preset: str | None = None
    form: Form = field(default_factory=Form)

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def own_presets(self) -> Path:
        return self.home / "presets" / "user"

    def allows(self, path: Path) -> bool:
        """Whether a page may list or write `path`: its real place lies inside one of the roots."""
        real = Path(os.path.realpath(path))
        return any(real.is_relative_to(os.path.realpath(root)) for root in (self.home, *self.roots))
