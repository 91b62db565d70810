"""The start of the studio: who may talk to it, which port it takes, what it refuses, and how it ends."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from starlette.datastructures import Headers

import app
from gui.guard import is_foreign, is_loopback, own_names

ROOT = Path(__file__).resolve().parents[1]
PRESET = ("--preset", "sd15-dreambooth", "--no-browser")


def start(home: Path, *flags: str) -> tuple[subprocess.Popen[bytes], Path]:
    """`python app.py` as a process of its own, its output in home/studio.log."""
    home.mkdir(parents=True, exist_ok=True)
    log = home / "studio.log"
    windows = os.name == "nt"
    # Tests that run in the background of a shell ignore Ctrl+C, and what they start would too.
    heeds = {} if windows else {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    group = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if windows else heeds
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--home", str(home), *PRESET, *flags],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ
            | {"PYTHONUNBUFFERED": "1", "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"},
            **group,
        )
    return process, log


def told(process: subprocess.Popen[bytes], log: Path, words: str) -> str:
    """The log's text once `words` stand in it."""
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        text = log.read_text(encoding="utf-8", errors="replace")
        if words in text:
            return text
        assert process.poll() is None, text
        time.sleep(0.1)
    raise AssertionError(log.read_text(encoding="utf-8", errors="replace"))


def ask(url: str, data: bytes | None = None, **headers: str) -> int:
    """The status of one request; never through a proxy, and without following."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, data, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with opener.open(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refusal:
        return refusal.code


@pytest.fixture(scope="module")
def busy_port() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, busy_port: int) -> Iterator[tuple[str, str]]:
    """A studio that was asked for a busy port, behind a proxy that is not there: its address and what it printed."""
    process, log = start(tmp_path_factory.mktemp("Jörg's home"), "--port", str(busy_port))
    text = told(process, log, "Atelier is at http")
    yield text.partition("Atelier is at ")[2].split()[0], text
    process.terminate()
    process.wait(10)


def test_the_address_is_one_line_and_the_next_free_port(studio: tuple[str, str], busy_port: int) -> None:
    """The studio prints its address on one line and takes the next free port where its own is taken."""
    address, text = studio
    host, _, port = address.removeprefix("http://").partition(":")
    assert host == "127.0.0.1" and busy_port < int(port) < busy_port + 100
    assert [line for line in text.splitlines() if "http" in line] == [f"Atelier is at {address}"]
    assert ask(address) == 200


def test_another_name_for_this_machine_is_refused(studio: tuple[str, str]) -> None:
    """A website whose name points at this machine (DNS rebinding) gets nothing."""
    assert ask(studio[0], Host="evil.example") == 400
    assert ask(f"{studio[0]}/config", Host="evil.example:7860") == 400


def test_another_websites_page_is_refused(studio: tuple[str, str]) -> None:
    """A foreign page can neither upload, nor call, nor read, nor have pictures drawn."""
    address = studio[0]
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:9",
        f"https://{address.removeprefix('http://')}.evil",
    ):
        assert ask(f"{address}/gradio_api/upload", b"x", Origin=origin) == 403
        assert ask(f"{address}/gradio_api/queue/join", b"{}", Origin=origin, Content_Type="application/json") == 403
        assert ask(f"{address}/config", Origin=origin) == 403
    assert ask(f"{address}/thumbnail?path=x", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors") == 403
    assert ask(f"{address}/config", Origin=address) == 200


def test_no_other_page_may_frame_it(studio: tuple[str, str]) -> None:
    """A foreign page cannot show the studio in a frame and lead clicks into it."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(studio[0], timeout=20) as answer:
        assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"


def test_files_of_this_machine_are_not_served(studio: tuple[str, str]) -> None:
    """Gradio's file route gives out neither the program's files nor the home's."""
    for path in (ROOT / "app.py", Path.home() / ".bashrc", ROOT / "gui" / ".." / "pyproject.toml"):
        assert ask(f"{studio[0]}/gradio_api/file={quote(str(path))}") in (403, 404)


def test_no_handler_is_public(studio: tuple[str, str]) -> None:
    """Nothing that the page does is offered as an API to programs."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{studio[0]}/gradio_api/info", timeout=20) as answer:
        assert answer.read().replace(b" ", b"") == b'{"named_endpoints":{},"unnamed_endpoints":{}}'


def test_from_other_machines_only_with_a_login(tmp_path: Path) -> None:
    """On an address that others can reach, everything but the login page asks for the password that was printed."""
    process, log = start(tmp_path, "--host", "0.0.0.0", "--port", "0")
    try:
        text = told(process, log, "with the password ")
        password = text.partition("with the password ")[2].split()[0]
        port = text.partition("Atelier is at http://")[2].split()[0].rpartition(":")[2]
        address = f"http://127.0.0.1:{port}"
        assert len(password) >= 16
        assert ask(f"{address}/config") == 401
        assert ask(f"{address}/thumbnail?path=x") == 401
        assert ask(f"{address}/gradio_api/upload", b"x") == 401
        assert ask(f"{address}/config", Host="evil.example") == 400
        form = "application/x-www-form-urlencoded"
        assert ask(f"{address}/login", b"username=atelier&password=wrong", Content_Type=form) == 400
        right = f"username=atelier&password={password}".encode()
        assert ask(f"{address}/login", right, Content_Type=form) == 200
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl+C reaches a whole console there")
def test_ctrl_c_ends_it_with_a_word(tmp_path: Path) -> None:
    """Ctrl+C ends the studio with code 0 and one sentence, without a traceback."""
    process, log = start(tmp_path, "--port", "0")
    told(process, log, "Atelier is at")
    try:
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
    text = log.read_text(encoding="utf-8")
    assert "Runs go on by themselves." in text and "Traceback" not in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--preset", "nothing"), "There is no preset nothing"),
        (("--root", "no such folder"), "is no folder"),
        (("--port", "70000"), "between 0 and 65535"),
    ],
)
def test_flags_that_cannot_be_followed(
    flags: tuple[str, str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong flag ends the start with code 2 and a sentence, before anything is served."""
    assert app.main(["--home", str(tmp_path), "--no-browser", *flags]) == 2
    assert words in capsys.readouterr().err


def test_a_home_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A home inside a file is named, with what to do."""
    (tmp_path / "file").write_text("x")
    assert app.main(["--home", str(tmp_path / "file"), *PRESET]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_who_counts_as_this_machine() -> None:
    """Only loopback addresses go without a login; 0.0.0.0 and a name of the network do not."""
    assert all(is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.1.2.3"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "192.168.1.5", "studio.local", "::", ""))
    assert own_names("127.0.0.1") == ["127.0.0.1", "::1", "[::1]", "localhost"]
    assert socket.gethostname() in own_names("0.0.0.0") and not any("*" in name for name in own_names("0.0.0.0"))


@pytest.mark.parametrize(
    ("method", "headers", "foreign"),
    [
        ("GET", {}, False),
        ("POST", {}, False),
        ("POST", {"origin": "http://127.0.0.1:7860"}, False),
        ("POST", {"origin": "http://localhost:7860"}, True),
        ("POST", {"origin": "null"}, True),
        ("GET", {"origin": "http://evil.example"}, True),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, True),
        ("GET", {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, True),
        ("GET", {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, False),
    ],
)
def test_which_requests_are_foreign(method: str, headers: dict[str, str], foreign: bool) -> None:
    """Followed links and the studio's own pages pass, programs without a browser too; other pages do not."""
    assert is_foreign(method, Headers({"host": "127.0.0.1:7860", **headers})) is foreign
