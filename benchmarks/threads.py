"""How long threads wait awake for one another: seconds for a step, alone on the cores and beside a busy program.

    python -m benchmarks.threads                       some nine minutes; nothing else may run

GNU's OpenMP, which torch uses on Linux, lets a thread turn round so many times (GOMP_SPINCOUNT) before it sleeps. Every
measurement is a process of its own that makes steps of the demo's U-Net; all settings in turn, three times over. Writes
benchmarks/results/threads.json and its section of docs/benchmarks.md.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from datetime import date

import psutil
import torch

from benchmarks.demo_model.networks import make_unet
from benchmarks.demo_model.words import WIDTH
from benchmarks.page import ROOT, machine, write
from trainer.runs.launch import WAITING

WAYS = {
    "asleep at once": {"OMP_WAIT_POLICY": "PASSIVE"},
    "as in the trainer": WAITING,
    "3,000 turns": WAITING | {"GOMP_SPINCOUNT": "3000"},
    "as GNU has it": {},
}
ROUNDS, STEPS, BATCH = 3, 6, 32


def steps() -> list[float]:
    """Seconds of each step but the first: forward, backward and AdamW over 32 latents of 16 x 16."""
    unet = make_unet("v1", 0)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-5)
    latents, states = torch.randn(BATCH, 4, 16, 16), torch.randn(BATCH, 77, WIDTH)
    times = []
    for _ in range(STEPS):
        began = time.perf_counter()
        unet(latents, torch.randint(0, 1000, (BATCH,)), states).sample.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - began)
    return times[1:]


def measured(way: str, *, busy: bool) -> float:
    """The median step in a process with these settings, beside a program that never waits or without it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.threads", "--steps"],
            cwd=ROOT, env=clean | WAYS[way], capture_output=True, text=True, check=True,
        )  # fmt: skip
    finally:
        if other:
            other.kill()
            other.wait()
    return statistics.median(json.loads(done.stdout))


def section(found: dict[str, dict[str, list[float]]], on: dict[str, object]) -> str:
    """The page's part."""
    lines = [
        "## Threads that wait",
        "",
        f"Seconds for a step of the demo's U-Net at batch {BATCH} on {on['cores']} cores: the fastest median of "
        f"{ROUNDS} rounds of {STEPS - 1} steps, all settings in turn, each in a process of its own, and the ratio to "
        "the first row. Beside: one other program that uses a core all the time. The trainer's threads wait awake for "
        f"{int(WAITING['GOMP_SPINCOUNT']):,} turns.",
        "",
        "| threads wait awake for | alone | ratio | beside a busy program | ratio |",
        "|---|--:|--:|--:|--:|",
    ]
    base = {kind: min(next(iter(found.values()))[kind]) for kind in ("alone", "beside")}
    for way, times in found.items():
        cells = [f"{min(times[kind]):.2f} | {min(times[kind]) / base[kind]:.2f}" for kind in base]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    lines += [
        "",
        f"{on['processor']}, {on['cores']} cores, {on['memory_gb']} GB, {on['system']}; Python {on['python']}, "
        f"torch {on['torch']}. Load {on['load']} before the start. `python -m benchmarks.threads`, {on['day']}; raw "
        "figures in benchmarks/results/threads.json. On Linux only: elsewhere torch has another OpenMP.",
    ]
    return "\n".join(lines)


def main() -> None:
    """All settings in turn."""
    if "--steps" in sys.argv:
        print(json.dumps(steps()))
        return
    load = round(psutil.getloadavg()[0], 2)
    on = machine(torch=torch.__version__) | {"load": load, "day": date.today().isoformat()}
    found: dict[str, dict[str, list[float]]] = {way: {"alone": [], "beside": []} for way in WAYS}
    for _ in range(ROUNDS):
        for way, times in found.items():
            for kind, into in times.items():
                into.append(measured(way, busy=kind == "beside"))
                print(f"{way}, {kind}: {into[-1]:.2f} s", flush=True)
    write("threads", {"machine": on, "seconds": found}, section(found, on))


if __name__ == "__main__":
    main()
