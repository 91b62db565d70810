"""Start the studio: `python app.py`. Prints its address, opens the browser, and ends with Ctrl+C; runs go on.

Comes in: flags. Goes out: a server on this machine. It never imports torch; what needs it is a process of its own.
"""

import argparse
import contextlib
import os
import secrets
import socket
import sys
import time
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path

from gradio import Blocks

from gui.guard import is_loopback, middlewares
from gui.saved_pictures import picture_routes
from gui.studio import ROOT, Studio
from gui.theme import style_sheet, theme
from gui.thumbnails import thumbnail_routes
from gui.window import build
from trainer.contract.presets import load_preset
from trainer.demo.make import make_demo, not_made
from trainer.demo.place import is_made
from trainer.runs.runner import tend

PORT = 7860
PORTS_TRIED = 100
USER = "atelier"
"""The name to log in with where the studio can be reached from other machines."""
LARGEST_UPLOAD = "1mb"
"""Only presets are ever sent to the studio, a few kB each; images and models are read where they lie."""


def main(argv: Sequence[str] | None = None) -> int:
    """Start the studio and stay until Ctrl+C. Returns 0, or 2 where a flag cannot be followed."""
    flags = _parser().parse_args(argv)
    home = flags.home.expanduser().absolute()
    studio = Studio(home=home, roots=tuple(flags.root or [Path.home()]), first_preset=flags.preset)
    wrong = _problem(studio, flags)
    if wrong:
        print(wrong, file=sys.stderr)
        return 2
    _leave_loopback_alone()
    if studio.first_preset == "demo" and not is_made(home):
        try:
            make_demo(home)
        except OSError as reason:
            print(not_made(home, reason), file=sys.stderr)
    _go_on(studio)
    window = build(studio)
    password = None if is_loopback(flags.host) else secrets.token_urlsafe(12)
    try:
        address = launch(window, studio, flags.host, flags.port, password)
    except OSError as reason:
        print(f"The studio could not start: {reason}. Choose another --host or --port.", file=sys.stderr)
        return 2
    print(f"Atelier is at {address}", flush=True)
    if password:
        print(f"Other machines can reach it: log in as {USER} with the password {password}", flush=True)
    if not flags.no_browser and _has_screen():
        webbrowser.open(address)
    _wait_for_end()
    window.close(verbose=False)
    print("The studio is closed. Runs go on by themselves.", flush=True)
    return 0


def launch(window: Blocks, studio: Studio, host: str, first_port: int, password: str | None) -> str:
    """Serve the window on the first free port from `first_port` on and return its address. Raises OSError.

    Nothing is shared, recorded or asked for elsewhere; other websites' pages are refused.
    """
    for port in _free_ports(host, first_port):
        try:
            window.launch(
                server_name=host,
                server_port=port,
                auth=[(USER, password)] if password else None,
                app_kwargs={
                    "middleware": middlewares(host),
                    "routes": thumbnail_routes(studio) + picture_routes(studio),
                },
                theme=theme(),
                css=style_sheet(),
                footer_links=[],
                prevent_thread_lock=True,
                quiet=True,
                max_file_size=LARGEST_UPLOAD,
                share=False,
                ssr_mode=False,
                run_history=False,
                enable_monitoring=False,
                mcp_server=False,
            )
        except OSError:
            # Somebody took the port between our look and the server's.
            continue
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{port}"
    raise OSError(f"no port of {first_port} to {first_port + PORTS_TRIED - 1} is free on {host}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="app.py", description="Open the studio in the browser.")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on; others than this need a login")
    parser.add_argument(
        "--port", type=int, default=PORT, help="the port, or the next free one above it; 0: any (default %(default)s)"
    )
    parser.add_argument(
        "--home",
        type=Path,
        default=Path(os.environ.get("ATELIER_HOME") or ROOT),
        help="where runs, your presets and the demo lie (default: ATELIER_HOME, else the program's folder)",
    )
    parser.add_argument("--preset", default="demo", help="what a first visit starts with (default %(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="only print the address")
    parser.add_argument(
        "--root",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="a folder that the page may list; may be given again (default: your home folder)",
    )
    return parser


def _problem(studio: Studio, flags: argparse.Namespace) -> str:
    """What is wrong with the flags, in a sentence; empty where nothing is."""
    if not 0 <= flags.port <= 65535:
        return f"--port must lie between 0 and 65535, not {flags.port}."
    try:
        studio.runs.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        return f"{studio.home} cannot be written ({reason.strerror}). Choose another --home."
    for root in studio.roots:
        if not root.expanduser().is_dir():
            return f"--root {root} is no folder. Choose one that is there."
    names = [path.stem for folder in (studio.shipped_presets, studio.own_presets) for path in folder.glob("*.json")]
    if studio.first_preset not in names:
        return f"There is no preset {studio.first_preset}. There are: {', '.join(sorted(names))}."
    places = (studio.own_presets, studio.shipped_presets)
    path = next(folder / f"{flags.preset}.json" for folder in places if (folder / f"{flags.preset}.json").exists())
    preset = load_preset(path)
    return " ".join(problem.message for problem in preset) if isinstance(preset, list) else ""


def _free_ports(host: str, first: int) -> Iterator[int]:
    """Ports that nobody listens on, from `first` on; for 0, ports that the system chooses."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in range(first, min(first + PORTS_TRIED, 65536)) if first else [0] * 5:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            if os.name == "nt":
                # There, SO_REUSEADDR would let us take a port that another program listens on.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
            else:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), wanted))
            except OSError as reason:
                if isinstance(reason, socket.gaierror):
                    raise OSError(f"there is no address {host} on this machine") from None
                continue
            port = probe.getsockname()[1]
        yield port


def _leave_loopback_alone() -> None:
    """Gradio asks its own server whether it is up; a proxy from the environment must not stand in between."""
    for name in ("NO_PROXY", "no_proxy"):
        given = [part for part in os.environ.get(name, "").split(",") if part]
        os.environ[name] = ",".join([*given, "127.0.0.1", "localhost", "::1"])


def _go_on(studio: Studio) -> None:
    """Let runs that wait in the queue go on, after a reboot for example."""
    try:
        tend(studio.runs)
    except RuntimeError as reason:
        print(reason, file=sys.stderr)


def _has_screen() -> bool:
    """Without one, webbrowser would open a text browser in this very terminal."""
    if os.name == "nt" or sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _wait_for_end() -> None:
    with contextlib.suppress(KeyboardInterrupt):
        # A sleep is what Ctrl+C interrupts on Windows too; waiting on a lock is not.
        while True:
            time.sleep(1)


if __name__ == "__main__":
    sys.exit(main())
