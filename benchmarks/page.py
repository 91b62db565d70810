"""What the benchmarks share: what they ran on, and their sections of docs/benchmarks.md with the raw figures beside."""

import json
import os
import platform
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "benchmarks.md"


def machine(**versions: str) -> dict[str, Any]:
    """What it runs on: processor, cores, memory, system, Python, and the versions of packages that matter."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def write(name: str, result: dict[str, Any], section: str) -> None:
    """Write the raw figures and the section of this name; what else stands on the page stays."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    whole = f"{begin}\n{section.strip()}\n{end}\n"
    page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else "# Benchmarks\n"
    if begin in page:
        before, _, rest = page.partition(begin)
        after = rest.partition(end)[2].lstrip("\n")
        page = before + whole + (f"\n{after}" if after else "")
    else:
        page = page.rstrip("\n") + "\n\n" + whole
    PAGE.write_text(page, encoding="utf-8")
