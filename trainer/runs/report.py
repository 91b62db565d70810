"""What to hand to somebody who helps with a crashed run: one text, without the names of people and their folders.

Comes in: a run's folder, its status, and why it crashed. Goes out: plain text; nothing is sent anywhere.
"""

import getpass
import os
import platform
import re
from functools import cache
from importlib import metadata
from pathlib import Path

from trainer.contract.events import Planned, Started
from trainer.contract.job import differing, read_options
from trainer.runs.crash import Crash, end_of_log
from trainer.runs.folder import RunFolder
from trainer.runs.status import Status

LOG_LINES = 60

_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "bitsandbytes", "xformers", "safetensors", "gradio")
_SECRETS = re.compile(r"(hf_|sk-|ghp_)[A-Za-z0-9]{8,}|(?<=//)[^/\s:@]+:[^/\s@]+(?=@)")
"""Tokens of hubs and services, and names with passwords in addresses."""


def report(run: RunFolder, status: Status, crash: Crash, started: Started | None, planned: Planned | None) -> str:
    """The text: what happened, versions, machine, the options that differ, the end of the log."""
    version = started.version if started is not None else "of an unknown version"
    lines = [f"Atelier {version}, {platform.system()} {platform.release()}, Python {platform.python_version()}"]
    lines.append(", ".join(f"{name} {_version(name)}" for name in _PACKAGES))
    if started is not None:
        card = f", card memory {started.vram_total_gib:.1f} GiB" if started.vram_total_gib else ""
        lines.append(f"Device {started.device}{card}, memory {started.ram_total_gib or 0:.1f} GiB")
    if planned is not None:
        lines.append(f"{planned.images} images, batches of {planned.batch_size}, {planned.total_steps} steps")
    lines += ["", f"{status.state}: {status.detail} (code {status.exit_code}, signal {status.signal})"]
    lines += [f"{crash.code}: {crash.title}", crash.evidence]
    options = differing(read_options(run.job_file) or {})
    lines += ["", "Options that differ from the defaults:", *(f"  {name}: {value}" for name, value in options.items())]
    tail = [line for line in end_of_log(run).splitlines() if line.strip()][-LOG_LINES:]
    lines += ["", "The end of the log:", *tail]
    return redacted("\n".join(lines))


def redacted(text: str) -> str:
    """The text without tokens and passwords, the user's name, and the place of the home folder."""
    text = _SECRETS.sub("[removed]", text)
    home = str(Path.home())
    if len(home) > 1:
        text = text.replace(home, "~").replace(home.replace(os.sep, "\\\\"), "~")
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        return text
    # Short names such as "me" are parts of too many words.
    return re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", "[user]", text) if len(name) > 2 else text


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
