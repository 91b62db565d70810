"""How much room is left on a disk, asked of the nearest folder that exists."""

import shutil
from pathlib import Path


def free_bytes(folder: Path) -> int | None:
    """Free bytes where `folder` lies or would be made; None where the disk does not say."""
    nearest = folder
    while not nearest.is_dir() and nearest != nearest.parent:
        nearest = nearest.parent
    try:
        return shutil.disk_usage(nearest).free
    except OSError:
        return None
