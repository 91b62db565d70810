"""The folder of a run: its name, its files, and which folders are runs."""

import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.runs.conftest import a_job
from trainer.contract.identity import identity_of, read_identity
from trainer.contract.job import Job, read_job
from trainer.runs.folder import RunFolder, _safe_name, list_runs, new_run
from trainer.runs.queue import is_queued

NAMES = ["Jörg's Katze", 'say "hi"', "a/b\\c:d*e?f<g>h|i", "..", " . ", "", "猫" * 200, "x\n\0y"]


@pytest.mark.parametrize("name", NAMES)
def test_new_run_holds_the_job_whatever_its_name(tmp_path: Path, name: str) -> None:
    """A run of any name gets a folder right inside HOME, and its job.json gives back the job and the very name."""
    run = new_run(tmp_path / "runs", a_job(name))
    assert run.path.parent == tmp_path / "runs"
    job = read_job(run.job_file)
    assert isinstance(job, Job)
    assert job.config == a_job(name).config
    if name:
        assert run.name == job.name == name


@given(st.text(st.characters(exclude_categories=())))
def test_safe_name_is_allowed_everywhere(name: str) -> None:
    """No name, lone surrogates included, leads out of the folder, is too long, or ends as Windows forbids."""
    safe = _safe_name(name)
    assert safe and not set(safe) & set('<>:"/\\|?*') and safe.isprintable() | (min(safe) >= " ")
    assert safe[-1] not in " ." and len(f"20260101-000000-{safe}-99".encode()) <= 255


def test_same_name_in_the_same_second(tmp_path: Path) -> None:
    """Runs of one name in one second get folders of their own and keep the order of asking."""
    runs = [new_run(tmp_path, a_job("cat")) for _ in range(12)]
    assert len({run.path for run in runs}) == 12
    assert list_runs(tmp_path) == runs[::-1]


def test_list_passes_over_what_is_no_run(tmp_path: Path) -> None:
    """Files and folders without job.json are no runs; a missing HOME has none."""
    run = new_run(tmp_path, a_job("cat"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "runner.log").write_text("text")
    assert list_runs(tmp_path) == [run]
    assert list_runs(tmp_path / "missing") == []


def test_copied_folder_keeps_its_time(tmp_path: Path) -> None:
    """When a run was asked for survives a copy that makes all files new; a folder of another name has its file's."""
    old = RunFolder(tmp_path / "20240229-112233-old")
    old.path.mkdir()
    old.job_file.write_text(json.dumps({"name": "old"}))
    assert time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(old.created)) == "2024-02-29 11:22:33"
    named = RunFolder(tmp_path / "my run")
    named.path.mkdir()
    named.job_file.write_text("no json")
    os.utime(named.job_file, (1e9, 1e9))
    assert (named.created, named.name) == (1e9, "my run")


def test_run_of_a_terminal_is_never_queued(tmp_path: Path) -> None:
    """A run that a terminal starts itself belongs to that process, so no runner takes it."""
    assert is_queued(new_run(tmp_path, a_job("queued")))
    run = new_run(tmp_path, a_job("mine"), queued=False)
    assert not is_queued(run)
    assert read_identity(run.launch_file) == identity_of()


def test_named_run_is_the_folder_itself(tmp_path: Path) -> None:
    """A folder that the user named becomes the run, and never takes the place of a run that is there."""
    run = new_run(tmp_path / "my" / "run", a_job("cat"), queued=False, named=True)
    assert run.path == tmp_path / "my" / "run" and run.job_file.exists()
    with pytest.raises(FileExistsError, match="holds a run already"):
        new_run(run.path, a_job("dog"), queued=False, named=True)
    assert run.name == "cat"


def test_home_that_cannot_be_made(tmp_path: Path) -> None:
    """A HOME that is a file is told as what it is."""
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(OSError):
        new_run(tmp_path / "runs", a_job("cat"))
