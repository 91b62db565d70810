"""Scan of a large folder, cold and warm: images per second and memory, and how both grow from 1,000 to 100,000.

    python -m benchmarks.scan                      1,000, 10,000 and 100,000 images, about 400 MB on disk while it runs
    python -m benchmarks.scan --images 1000 5000   other numbers

Each scan is a process of its own, so that its peak memory is its own. Cold: no index, and no file's content in the
system's page cache, as when a folder is opened for the first time. Cached: no index, but all files in the page cache.
Warm: the index of the cold scan; contents out of the page cache again. Contents are put out with posix_fadvise, so
cold is only cold on Linux. Writes benchmarks/results/scan.json and the section of docs/benchmarks.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import psutil
from PIL import Image

from benchmarks.page import ROOT, machine, write

WAYS = [(what, heat) for what in ("scan", "check") for heat in ("cached", "cold", "warm")]

MADE_EARLIER_S = 3600
"""Images are dated back: the index leaves out files that are younger than two seconds."""


def make_images(folder: Path, number: int) -> None:
    """So many small images of noise in folder/1_thing: half PNG, half JPEG, 24 to 64 pixels a side."""
    inner = folder / "1_thing"
    inner.mkdir(parents=True)
    generator = np.random.default_rng(0)
    then = time.time() - MADE_EARLIER_S
    for n in range(number):
        width, height = (int(side) for side in generator.integers(24, 65, 2))
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        path = inner / f"{n:06}.{('png', 'jpg')[n % 2]}"
        Image.fromarray(pixels).save(path, **({"compress_level": 0} if n % 2 == 0 else {"quality": 75}))
        os.utime(path, (then, then))


def put_out(folder: Path) -> None:
    """Let the system forget the contents of the files in its page cache (names and status it keeps)."""
    if not hasattr(os, "posix_fadvise"):
        return
    os.sync()
    with os.scandir(folder / "1_thing") as items:
        for item in items:
            file = os.open(item.path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def measure(folder: Path, index: Path, what: str) -> dict[str, Any]:
    """Run one scan in a process of its own: seconds, peak and base memory, images found."""
    command = [sys.executable, "-m", "benchmarks.scan", "--one", what, str(folder), str(index)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def one(what: str, folder: Path, index_path: Path) -> dict[str, Any]:
    """The measured process. `what` is scan (headers alone) or check (captions, duplicates, sizes and the plan too)."""
    from trainer.contract.config import TrainingConfig  # noqa: PLC0415 - only the measured process pays for it
    from trainer.dataset.check import check_dataset  # noqa: PLC0415 - goes with it
    from trainer.dataset.index import Index  # noqa: PLC0415 - goes with it
    from trainer.dataset.scan import scan  # noqa: PLC0415 - goes with it

    config = TrainingConfig.from_flat({"train_data_dir": str(folder), "enable_bucket": True})
    base = psutil.Process().memory_info().rss
    start, cpu = time.perf_counter(), time.process_time()
    if what == "check":
        report = check_dataset(config, index_path=index_path)
        images = report.scan.pictures
    else:
        with Index(index_path) as index:
            images = scan(config.data, index=index).pictures
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    return {"images": images, "seconds": seconds, "cpu_seconds": cpu_seconds, "peak": _peak() - base}


def _peak() -> int:
    """The most memory that this process has held, in bytes."""
    if os.name == "nt":
        return psutil.Process().memory_info().peak_wset
    import resource  # noqa: PLC0415 - not there on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def remove_index(path: Path) -> None:
    """Take an index away, with what SQLite keeps beside it."""
    for ending in ("", "-wal", "-shm"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def run(numbers: list[int], repeat: int) -> dict[str, Any]:
    """All sizes, each way `repeat` times in turn."""
    rows = []
    load = [round(x, 2) for x in psutil.getloadavg()]
    for number in numbers:
        place = Path(tempfile.mkdtemp(prefix="atelier-scan-"))
        try:
            print(f"making {number:,} images", flush=True)
            make_images(place / "images", number)
            row: dict[str, Any] = {"images": number}
            for what, heat in WAYS * repeat:
                index = place / f"{what}.sqlite"
                if heat != "cached":
                    put_out(place / "images")
                if heat != "warm":
                    remove_index(index)
                measured = measure(place / "images", index, what)
                assert measured["images"] == number, measured
                rate, each = number / measured["seconds"], measured["peak"] / number
                print(f"{number:>9,} {what} {heat:<6} {rate:>9,.0f} images/s {each:>7,.0f} bytes each", flush=True)
                row.setdefault(f"{what}_{heat}", []).append(measured)
            row["index_bytes"] = (place / "scan.sqlite").stat().st_size
            rows.append(row)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return {
        "date": date.today().isoformat(),
        "machine": {**machine(pillow=PIL.__version__), "load_before": load},
        "rows": rows,
    }


def fastest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The run that other work on the machine disturbed least, with the highest peak of memory of all."""
    return min(runs, key=lambda run: run["seconds"]) | {"peak": max(run["peak"] for run in runs)}


def section(result: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    on = result["machine"]
    lines = [
        "## Scan of a large folder",
        "",
        "Generated images of 24 to 64 pixels a side, half PNG, half JPEG, in one numbered folder. Cold: without an "
        "index, and with the files' contents out of the page cache. Cached: without an index, contents in the page "
        "cache. Warm: with the index that the cold run wrote, contents out of the page cache. Each figure is the "
        f"fastest of {len(result['rows'][0]['scan_cold'])} runs, each in a process of its own. Memory is the peak "
        "above that of the process before the scan. *Scan* reads headers; *check* is all that the page and the "
        "trainer do: scan, captions, exact duplicates, sizes, plan.",
        "",
        "| images | | cold, images/s | cached, images/s | warm, images/s | warm : cold "
        "| CPU cold, µs an image | CPU warm, µs an image | warm : cold, CPU "
        "| cold, bytes an image | warm, bytes an image |",
        "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in result["rows"]:
        for what in ("scan", "check"):
            cold, cached, warm = (fastest(row[f"{what}_{heat}"]) for heat in ("cold", "cached", "warm"))
            rates = " | ".join(f"{row['images'] / way['seconds']:,.0f}" for way in (cold, cached, warm))
            lines.append(
                f"| {row['images']:,} | {what} | {rates} "
                f"| {cold['seconds'] / warm['seconds']:.1f} | {1e6 * cold['cpu_seconds'] / row['images']:.0f} "
                f"| {1e6 * warm['cpu_seconds'] / row['images']:.1f} "
                f"| {cold['cpu_seconds'] / warm['cpu_seconds']:.1f} "
                f"| {cold['peak'] / row['images']:,.0f} | {warm['peak'] / row['images']:,.0f} |"
            )
    first, last = result["rows"][0], result["rows"][-1]
    if first is not last:
        more = last["images"] - first["images"]
        marginal = (fastest(last["check_cold"])["peak"] - fastest(first["check_cold"])["peak"]) / more
        lines += [
            "",
            f"From the smallest to the largest folder each further image costs {marginal:,.0f} bytes (check).",
        ]
    lines += [
        "",
        f"{on['processor']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']}; Python {on['python']}, Pillow "
        f"{on['pillow']}. The cores were shared with other work: load {on['load_before'][0]} before the start. "
        f"`python -m benchmarks.scan`, {result['date']}; raw figures in benchmarks/results/scan.json.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write, or be the measured process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--repeat", type=int, default=3, help="runs of each way; the fastest counts")
    parser.add_argument("--one", nargs=3, metavar=("WHAT", "FOLDER", "INDEX"), help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    given = parser.parse_args()
    if given.one:
        what, folder, index = given.one
        print(json.dumps(one(what, Path(folder), Path(index))))
        return
    result = run(given.images, given.repeat)
    if not given.dry:
        write("scan", result, section(result))


if __name__ == "__main__":
    main()
