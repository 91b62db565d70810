"""Why runs died: recorded logs, signals, codes and the trainer's own words, each with the one right cause."""

import getpass
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.runs.conftest import a_job
from trainer.contract.config import TrainingConfig
from trainer.contract.events import EventWriter, Finished, Started, Stepped
from trainer.contract.fixed import ANEW, FIXED
from trainer.contract.job import Job, make_job
from trainer.runs import crash as crash_module
from trainer.runs.crash import Crash, diagnose, ways_for
from trainer.runs.crash_kinds import KINDS
from trainer.runs.ending import Ending, judge, record_ending
from trainer.runs.folder import RunFolder, new_run
from trainer.runs.following import job_after
from trainer.runs.report import redacted, report
from trainer.runs.status import Status, status_of


@pytest.fixture
def dead(tmp_path: Path) -> RunFolder:
    """A run that was at step 12; each test says how it ended."""
    run = new_run(tmp_path, a_job("harbour", 100))
    writer = EventWriter(run.events_file)
    writer.write(Started(pid=1, version="1", device="cpu", seed=0))
    writer.write(Stepped(step=12, epoch=1, loss=0.1, learning_rate={"unet": 1e-6}))
    writer.close()
    return run


def die(run: RunFolder, *, log: str = "", code: int | None = 1, starved: bool = False, **said: object) -> Crash:
    """End a run: its log, its last word if it has one, and the exit code that its runner saw."""
    run.log_file.write_text(f"12:00:01 step 12, loss 0.1\n{log}\n", encoding="utf-8")
    if said:
        writer = EventWriter(run.events_file)
        writer.write(Finished(result="failed", step=12, message=str(said["message"]), code=str(said["rcode"])))
        writer.close()
    record_ending(run, judge(run, code, starved=starved))
    crash = diagnose(run, status_of(run))
    assert crash is not None
    return crash


TORCH = 'Traceback (most recent call last):\n  File "loop.py", line 1, in learn\n'
RECORDED = [
    tuple(line.split("\t"))
    for line in (ROOT / "tests" / "fixtures" / "runs" / "last-lines.txt").read_text("utf-8").splitlines()
]
"""The cause and the last line of a log, as PyTorch, the system, bitsandbytes and others write it."""


@pytest.mark.parametrize(("code", "line"), RECORDED, ids=[f"{code} {line[:24]}" for code, line in RECORDED])
def test_a_line_of_the_log_tells_the_cause(dead: RunFolder, code: str, line: str) -> None:
    """A recorded last line of a log, as it stands after a traceback, gives its cause and is the evidence."""
    crash = die(dead, log=f"{TORCH}{line}")
    assert (crash.code, crash.evidence) == (code, line.strip())


SAID = [
    ("card_memory", "card_memory", "The card's memory is full."),
    ("host_memory", "host_memory", "The computer's memory is full."),
    ("bad_image", "bad_image", "/data/a.png: truncated."),
    ("diverged", "diverged", "Loss or gradients were not finite 3 steps in a row, up to step 12 (a.png)."),
    ("disk_full", "disk_full", "/out/last.safetensors: No space left on device."),
    ("no_permission", "no_permission", "/out: Permission denied."),
    ("disk.model_missing", "refused.model", "There is no model."),
    ("disk.folder_empty", "refused.data", "The folder is empty."),
    ("disk.resume_data", "refused.resume", "The images are others."),
    ("machine.fp16_needs_gpu", "refused.machine", "fp16 trains on a GPU only."),
    ("machine.bitsandbytes_missing", "bitsandbytes_broken", "AdamW8bit needs the package bitsandbytes."),
    ("disk.no_room", "refused.output", "1 save and 2 states need 9.0 GB, but /out has only 1.0 GB free."),
    ("rule.no_length", "refused", "It is not said how long to train."),
]


@pytest.mark.parametrize(("code", "kind", "message"), SAID)
def test_the_trainer_s_own_word_counts_first(dead: RunFolder, code: str, kind: str, message: str) -> None:
    """What the trainer says that it is counts more than older lines of the log that look like something else."""
    crash = die(dead, log="warning: No module named 'triton', ImportError", code=1, message=message, rcode=code)
    assert crash.code == kind and crash.evidence == message


@pytest.mark.parametrize(
    ("exit_code", "starved", "log", "kind"),
    [
        (-9, False, "ImportError: survived", "killed"),
        (-9, True, "", "host_memory"),
        (-15, True, "", "killed"),
        (-11, False, "", "fault"),
        (-11, False, "Found no NVIDIA driver on your system", "driver"),
        (-7, False, "", "fault"),
        (0xC0000005, False, "", "fault"),
        (0xC000013A, False, "", "interrupted"),
        (7, False, "", "unknown"),
    ],
)
def test_an_end_without_a_word(dead: RunFolder, exit_code: int, starved: bool, log: str, kind: str) -> None:
    """A signal or a code alone tells what kind of death it was; what the memory killer took is known as that."""
    crash = die(dead, log=log, code=exit_code, starved=starved)
    assert crash.code == kind and crash.title and crash.about
    assert "step 12" in crash.evidence or log in crash.evidence


def test_a_lost_run_says_what_is_known(dead: RunFolder) -> None:
    """After another start of the computer it went off; else nobody knows."""
    for cause, kind in (("the computer went off at step 12", "no_power"), ("gone at step 12", "gone")):
        crash = diagnose(dead, Status("lost", "x", cause=cause))
        assert crash is not None and crash.code == kind


@pytest.mark.parametrize("state", ["queued", "running", "stopping", "paused", "stopped", "finished"])
def test_no_other_state_is_a_crash(dead: RunFolder, state: str) -> None:
    """Only what ended by itself has a cause."""
    assert diagnose(dead, Status(state, "")) is None


def test_a_log_that_grows_is_read_again(dead: RunFolder) -> None:
    """The last lines may come after exit.json: the answer of before is not kept."""
    record_ending(dead, Ending(1, None, None, "ended with code 1 at step 12", time.time()))
    first = diagnose(dead, status_of(dead))
    dead.log_file.write_text("RuntimeError: CUDA out of memory\n")
    second = diagnose(dead, status_of(dead))
    assert first is not None and second is not None
    assert (first.code, second.code) == ("unknown", "card_memory")


def test_every_way_is_a_job_that_passes_the_rules(dead: RunFolder) -> None:
    """Whatever the card offers can be started: each way of each kind gives a job without a problem."""
    plain = {"pretrained_model_name_or_path": "/m", "train_data_dir": "/d", "output_dir": "/o"}
    asked = [
        {},
        {"train_batch_size": 4, "mixed_precision": "fp16", "save_every_n_epochs": 1, "max_grad_norm": 0.0},
        {"use_8bit_adam": True, "random_crop": True, "save_state": True, "save_every_n_steps": 50},
        {"unetonly": True, "cache_latents": True, "gradient_checkpointing": True, "save_precision": "bf16"},
        {"encoderonly": True, "color_aug": True, "stop_text_encoder_training": None, "max_train_epochs": 3},
        {"use_ema": True, "ema_device": "same"},
    ]
    offered = 0
    for values in asked:
        job = make_job({**plain, **values})
        assert isinstance(job, Job), job
        for kind in KINDS:
            for way in ways_for(kind, job.config):
                offered += 1
                changed = make_job({**job.config.changed(), **way.values})
                assert isinstance(changed, Job), (kind.code, way.title, changed)
                assert changed.config != job.config, f"{kind.code}: {way.title} changes nothing"
    assert offered > 50


def test_what_follows_goes_on_or_begins_anew(tmp_path: Path) -> None:
    """With a state it goes on from it, but for changes that a state does not survive; those begin from the model."""
    values = {"pretrained_model_name_or_path": "/m", "train_data_dir": "/d", "output_dir": "/o", "resume": "/old state"}
    job = make_job(values)
    assert isinstance(job, Job), job
    run = new_run(tmp_path, job)
    state = tmp_path / "state"

    def resumed(changes: dict[str, object], from_state: Path | None) -> Path | None:
        following = job_after(run, changes, from_state)
        assert isinstance(following, Job), following
        return following.config.saves.resume

    assert resumed({"learning_rate": 1e-7}, state) == state
    assert resumed({}, None) == Path("/old state")
    assert resumed({"train_batch_size": 2}, state) is None
    assert set(FIXED) < ANEW <= set(TrainingConfig().flat())


def test_report_holds_what_helps_and_no_names(dead: RunFolder) -> None:
    """Cause, versions, options and the end of the log are in it; the home folder, the user and tokens are not."""
    name = getpass.getuser()
    log = f"loading {Path.home()}/models/a.ckpt for {name}\ntoken hf_abcdefgh12345678\n"
    log += "http://me:secret@proxy:80/\nRuntimeError: x"
    crash = die(dead, log=log)
    started = Started(pid=1, version="1.2", device="NVIDIA RTX 3070", seed=0, vram_total_gib=8.0)
    text = report(dead, status_of(dead), crash, started, None)
    assert text.startswith("Atelier 1.2, ") and "NVIDIA RTX 3070, card memory 8.0 GiB" in text
    assert "unknown: The trainer ended by itself" in text and "RuntimeError: x" in text
    assert "torch 2." in text and "pretrained_model_name_or_path: /models/some" in text
    assert "~/models/a.ckpt" in text and str(Path.home()) + "/" not in text
    assert "hf_abcdefgh" not in text and "secret" not in text
    assert len(name) <= 2 or f"for {name}" not in text


def test_short_names_do_not_eat_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user "me" leaves "memory me" as it is, "anna" is taken out of "for anna." and not out of "savanna"."""
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    assert redacted("memory me") == "memory me"
    monkeypatch.setattr("getpass.getuser", lambda: "anna")
    assert redacted("savanna for anna!") == "savanna for [user]!"


def test_the_last_traceback_counts_where_nothing_is_known(dead: RunFolder) -> None:
    """Of a log that ends with a launcher's own lines, the line of the exception is the evidence."""
    crash = die(dead, log=f"{TORCH}KeyError: 'unet'\n12:00:05 ended by itself at step 12")
    assert crash.evidence == "KeyError: 'unet'"
    assert crash_module.LOG_BYTES >= 16 * 1024
