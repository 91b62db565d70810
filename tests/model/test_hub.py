"""Downloads, from a hub of our own on this machine that speaks as the real one does."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tiny_models import load

COMMIT = "1234567890abcdef1234567890abcdef12345678"
NAME = "someone/tiny"


class Hub(BaseHTTPRequestHandler):
    """The three requests that a download makes: what is in the model, about a file, and the file."""

    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, with_body: bool) -> None:
        path = self.path.partition("?")[0]
        files = {file.relative_to(self.folder).as_posix(): file for file in self.folder.rglob("*") if file.is_file()}
        resolved = [f"/{NAME}/resolve/{revision}/" for revision in (COMMIT, "main")]
        inside = next((path.removeprefix(start) for start in resolved if path.startswith(start)), None)
        if inside in files:
            body, extra = files[inside].read_bytes(), {"X-Repo-Commit": COMMIT}
            extra["ETag"] = f'"{hashlib.sha256(body).hexdigest()}"'
            if with_body:
                self.asked.append(inside)
        elif path.startswith(f"/api/models/{NAME}/tree/"):
            rows = [{"type": "file", "path": n, "size": f.stat().st_size, "oid": "0" * 40} for n, f in files.items()]
            body, extra = json.dumps(rows).encode(), {}
        elif path in (
            f"/api/models/{NAME}",
            f"/api/models/{NAME}/revision/main",
            f"/api/models/{NAME}/revision/{COMMIT}",
        ):
            siblings = [{"rfilename": name, "size": file.stat().st_size} for name, file in files.items()]
            body, extra = json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode(), {}
        else:
            body, extra = b"{}", {}
        self.send_response(200 if body != b"{}" else 404)
        for name, value in {**extra, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)


@pytest.fixture
def hub(tiny: dict[str, Path], tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a hub that has one model, and the files that were asked of it."""
    asked: list[str] = []
    for name in ("unet/diffusion_pytorch_model.bin", "README.md"):
        path = tmp_path / "served" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"not to be downloaded")
    for file in tiny["v1"].rglob("*"):
        if file.is_file():
            path = tmp_path / "served" / file.relative_to(tiny["v1"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.read_bytes())
    handler = type("Handler", (Hub,), {"folder": tmp_path / "served", "asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


FINDS = """
import json, sys
from trainer.model.hub import local_folder
from trainer.model.refusals import UnusableModel

told = []
try:
    folder = local_folder(sys.argv[1], progress=lambda *n: told.append(n))
    print(json.dumps({"told": told, "path": str(folder)}))
except UnusableModel as refusal:
    print(json.dumps({"told": told, "problem": refusal.problem.as_dict()}))
assert "torch" not in sys.modules
"""


def find_elsewhere(name: str, cache: Path, **settings: str) -> dict[str, object]:
    """Find a model by its hub name in a process of its own, whose hub these settings say."""
    quiet = {"HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    environment = {**os.environ, **quiet, **settings}
    command = [sys.executable, "-c", FINDS, name]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_typed_name_is_downloaded_and_told(hub: tuple[str, list[str]], tmp_path: Path) -> None:
    """What loading needs comes once, with its progress in bytes; afterwards the model loads with the hub off."""
    address, asked = hub
    got = find_elsewhere(NAME, tmp_path / "cache", HF_ENDPOINT=address, HF_HUB_OFFLINE="0")
    assert load(Path(got["path"])).family == "v1"
    sizes = [(tmp_path / "served" / name).stat().st_size for name in asked]
    assert len(asked) == len(set(asked)) == 8 and not any(name.endswith((".bin", ".md")) for name in asked)
    told = [tuple(pair) for pair in got["told"]]
    assert told[0] == (0, sum(sizes)) and told[-1] == (sum(sizes), sum(sizes))
    assert [done for done, _ in told] == sorted(done for done, _ in told) and len({d for d, _ in told}) >= 4
    asked.clear()
    again = find_elsewhere(NAME, tmp_path / "cache", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="1")
    assert (again["path"], again["told"]) == (got["path"], []) and asked == []


def test_an_unreachable_hub_is_one_problem(tmp_path: Path) -> None:
    """Where the hub does not answer, loading says so and what to do."""
    got = find_elsewhere("nobody/nothing", tmp_path / "cache", HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert got["problem"]["code"] == "disk.model_download"
    assert got["problem"]["message"].startswith("nobody/nothing is not on this disk")
