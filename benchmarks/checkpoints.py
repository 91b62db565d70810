"""Checkpoints of the real size: how long inspecting a 4 GB file takes, and how much memory saving a model takes.

    python -m benchmarks.checkpoints               20 inspections; four saves of a 1.x model in fp16, 2 GB of disk each

Inspect: a sparse file with every name and shape of a 1.x model in fp32; the call in a process that is warm, and
`python -m trainer inspect` as a whole. Save: the model is loaded as the trainer loads it (fp32) and saved in fp16, in a
process of its own for each form; memory is the most that the process held during the save, less what it held just
before. Anonymous memory is the process's own; the other part are pages of files, which the system takes back at will.
Writes benchmarks/results/checkpoints.json and its section of docs/benchmarks.md. Linux alone tells the two apart.
"""

import argparse
import json
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from benchmarks.page import ROOT, machine, write
from trainer.model.inspect import inspect_model

FORMS = ("safetensors", "ckpt", "diffusers_safetensors", "diffusers")
NAMES = {
    "safetensors": ".safetensors",
    "ckpt": ".ckpt",
    "diffusers_safetensors": "Diffusers folder",
    "diffusers": "Diffusers folder, .bin",
}
WIDTHS = {"F16": 2, "F32": 4}


def write_table(path: Path, family: str, dtype: str = "F16") -> int:
    """A .safetensors file with every name and shape of a real one and nothing but a hole for data; its bytes."""
    fixture = ROOT / "tests" / "fixtures" / "model" / f"keys-{family}.txt"
    header, place = {}, 0
    for line in fixture.read_text(encoding="utf-8").splitlines():
        name, _, text = line.partition(" ")
        shape = [] if text == "-" else [int(side) for side in text.split("x")]
        size = WIDTHS[dtype]
        for side in shape:
            size *= side
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
        place += size
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + place)
    return 8 + len(raw) + place


def measure_inspect(path: Path, repeat: int) -> dict[str, list[float]]:
    """Seconds of the call and of the whole command, each `repeat` times."""
    inspect_model(str(path))
    seconds: dict[str, list[float]] = {"call": [], "command": [], "python": []}
    commands = {"command": ["-m", "trainer", "inspect", str(path)], "python": ["-c", "pass"]}
    for _ in range(repeat):
        start = time.perf_counter()
        inspect_model(str(path))
        seconds["call"].append(time.perf_counter() - start)
        for name, words in commands.items():
            start = time.perf_counter()
            subprocess.run([sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def held() -> dict[str, int]:
    """Bytes that this process holds now: all of them, and those that are anonymous."""
    text = Path("/proc/self/status").read_text()
    found = {name: re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for name in ("VmRSS", "RssAnon")}
    return {name: int(match[1]) * 1024 for name, match in found.items() if match is not None}


def save_once(source: Path, target: Path, form: str) -> dict[str, Any]:
    """The measured process: load, save, and the most that was held during the save beyond what was held before."""
    from trainer.contract.config import ModelSection  # noqa: PLC0415 - only the measured process pays for torch
    from trainer.model.load import load_networks  # noqa: PLC0415 - goes with it
    from trainer.model.save import save_model  # noqa: PLC0415 - goes with it

    networks = load_networks(ModelSection(pretrained_model_name_or_path=str(source)))
    before, most, ended = held(), held(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.002):
            for name, now in held().items():
                most[name] = max(most[name], now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    save_model(networks, target, form=form, precision="fp16")
    seconds = time.perf_counter() - start
    ended.set()
    watcher.join()
    return {"seconds": seconds, "before": before, "extra": {name: most[name] - before[name] for name in before}}


def measure_saves(source: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """One save of each form."""
    found = {}
    for form in FORMS:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            command = [sys.executable, "-m", "benchmarks.checkpoints", "--one", str(source), f"{place}/saved", form]
            done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
            if done.returncode != 0:
                raise RuntimeError(done.stderr)
            found[form] = json.loads(done.stdout.splitlines()[-1])
            print(f"{NAMES[form]:<24} {found[form]['extra']}", flush=True)
    return found


def run(repeat: int) -> dict[str, Any]:
    """Everything once."""
    load = [round(x, 2) for x in psutil.getloadavg()]
    with tempfile.TemporaryDirectory(prefix="atelier-checkpoints-") as place:
        large, half = Path(place) / "large.safetensors", Path(place) / "half.safetensors"
        size = write_table(large, "v1", "F32")
        seconds = measure_inspect(large, repeat)
        print({name: round(statistics.median(times), 4) for name, times in seconds.items()}, flush=True)
        # A hole reads as zeros; what the values are makes no difference to the memory.
        write_table(half, "v1")
        saves = measure_saves(half, Path(place))
    return {
        "date": date.today().isoformat(),
        "machine": {**machine(), "load_before": load},
        "inspected_bytes": size,
        "seconds": seconds,
        "saves": saves,
    }


def section(result: dict[str, Any]) -> str:
    """The section of docs/benchmarks.md."""
    on, seconds = result["machine"], result["seconds"]
    names = {"call": "`inspect_model`", "command": "`python -m trainer inspect`", "python": "Python alone"}
    timed = [
        f"| {words} | {statistics.median(seconds[name]):.3f} | {min(seconds[name]):.3f} to {max(seconds[name]):.3f} |"
        for name, words in names.items()
    ]
    saved = [
        f"| {NAMES[form]} | {found['extra']['RssAnon'] / 1e6:,.0f} | {found['extra']['VmRSS'] / 1e6:,.0f} "
        f"| {found['before']['VmRSS'] / 1e9:.1f} | {found['seconds']:.0f} |"
        for form, found in result["saves"].items()
    ]
    return "\n".join(
        [
            "## Checkpoints of the real size",
            "",
            f"Inspecting a .safetensors file of {result['inspected_bytes'] / 1e9:.1f} GB, a 1.x model in fp32, "
            f"{len(seconds['call'])} times. The file is sparse; its table of contents is a real one.",
            "",
            "| | seconds, median | from the fastest to the slowest |",
            "|---|--:|--:|",
            *timed,
            "",
            "Saving a 1.x model in fp16 (2 GB), once in each form, in a process of its own that had loaded it in fp32. "
            "Extra is the most that was held during the save less what was held just before.",
            "",
            "| | extra, its own, MB | extra, with pages of files, MB | before, GB | seconds |",
            "|---|--:|--:|--:|--:|",
            *saved,
            "",
            f"{on['processor']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']}; Python {on['python']}. "
            f"The cores were shared with other work: load {on['load_before'][0]} before the start. "
            f"`python -m benchmarks.checkpoints`, {result['date']}; raw figures in "
            "benchmarks/results/checkpoints.json.",
        ]
    )


def main() -> None:
    """Measure and write, or be the measured process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=20, help="inspections")
    parser.add_argument("--one", nargs=3, metavar=("SOURCE", "TARGET", "FORM"), help=argparse.SUPPRESS)
    parser.add_argument("--dry", action="store_true", help="print the figures, write no file")
    given = parser.parse_args()
    if given.one:
        source, target, form = given.one
        print(json.dumps(save_once(Path(source), Path(target), form)))
        return
    result = run(given.repeat)
    if not given.dry:
        write("checkpoints", result, section(result))


if __name__ == "__main__":
    main()
