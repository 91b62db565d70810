"""`python -m trainer inspect` and `convert`: every way between files and folders, and plain words for the rest."""

import json
import shutil
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.conftest import trainer
from tests.tiny_models import load, make_tiny
from trainer.model import convert as converting
from trainer.model.checkpoint import read_checkpoint
from trainer.model.inspect import ModelFacts, inspect_model
from trainer.model.keys import ema_names, unet_names
from trainer.model.load import Networks
from trainer.model.save import save_model
from trainer.model_verbs import convert, inspect

TARGETS = {"file": "my model v1.5.safetensors", "pickled": "my model v1.5.ckpt", "folder": "my model v1.5"}


@pytest.fixture(autouse=True)
def bitsandbytes_as_it_was() -> Iterator[None]:
    """The verbs hide bitsandbytes from their process, which here is everybody's."""
    before = sys.modules.get("bitsandbytes", ...)
    yield
    if before is ...:
        sys.modules.pop("bitsandbytes", None)


@pytest.fixture(scope="module")
def sources(loaded: dict[str, Networks], tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """(family, kind) -> a model in fp16 that says that it was trained for 7 steps."""
    root = tmp_path_factory.mktemp("sources")
    forms = {"file": "safetensors", "pickled": "ckpt", "folder": "diffusers_safetensors"}
    words = {"modelspec.author": "Jörg", "atelier.images": "12", "modelspec.hash_sha256": "0x1"}
    return {
        (family, kind): save_model(
            networks, root / f"{family} {kind}", form=form, precision="fp16", metadata=words, epoch=2, step=7
        )[0]
        for family, networks in loaded.items()
        for kind, form in forms.items()
    }


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    """All weights of a model by part, as they are in memory."""
    networks = load(path)
    parts = ("unet", "text_encoder", "vae")
    return {f"{part}.{name}": t for part in parts for name, t in getattr(networks, part).state_dict().items()}


def said(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    """The problems that a verb printed with --json."""
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize(("kind", "to"), list(product(TARGETS, TARGETS)))
def test_every_way_keeps_every_weight(
    family: str, kind: str, to: str, sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    """The ending decides what is written; weights, precision and prediction are the source's, bit for bit."""
    source, target = sources[family, kind], tmp_path / TARGETS[to]
    assert convert([str(source), str(target)]) == 0
    before, after = inspect_model(str(source)), inspect_model(str(target))
    assert isinstance(before, ModelFacts) and isinstance(after, ModelFacts)
    assert target.is_dir() == (to == "folder")
    assert (after.family, after.precision) == (family, "fp16")
    if family == "v2":
        assert after.prediction == "v"
        assert (tmp_path / "my model v1.5.yaml").exists() == (to != "folder")
    one, other = weights_of(source), weights_of(target)
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_model_says_of_itself_stays(
    kind: str, sources: dict[tuple[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Author, title and training record are read back from the result; the old file's hash is not."""
    target = tmp_path / TARGETS[kind]
    assert convert([str(sources["v1", "file"]), str(target), "--save-precision", "bf16"]) == 0
    assert inspect([str(target), "--json"]) == 0
    output = capsys.readouterr().out
    facts = json.loads(output[output.index("{") :])
    assert facts["precision"] == "bf16"
    words = facts["metadata"]
    assert (words["modelspec.author"], words["modelspec.title"]) == ("Jörg", "v1 file")
    assert (words["atelier.images"], words["atelier.epoch"], words["atelier.step"]) == ("12", "2", "7")
    assert words["modelspec.prediction_type"] == "epsilon" and len(words["modelspec.hash_sha256"]) == 66


def test_counts_of_a_ckpt_become_metadata(sources: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    """Epoch and step beside a pickled state dict stand in the header of the .safetensors file."""
    target = tmp_path / "x.safetensors"
    assert convert([str(sources["v1", "pickled"]), str(target)]) == 0
    words = read_checkpoint(target).content.metadata
    assert (words["atelier.epoch"], words["atelier.step"]) == ("2", "7")


def test_another_vae_and_the_averages(
    sources: dict[tuple[str, str], Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """--vae replaces the VAE, --use-ema-weights writes the averages as the U-Net, and nothing else changes."""
    state = load_file(sources["v1", "file"])
    for original in unet_names(loaded["v1"].unet.state_dict()).values():
        state[ema_names(original)[0]] = state[original] + 1
    averaged = tmp_path / "averaged.safetensors"
    save_file(state, averaged, dict(read_checkpoint(sources["v1", "file"]).content.metadata))
    other = make_tiny(tmp_path / "other", "v1", seed=9)
    target = tmp_path / "x.safetensors"
    assert convert([str(averaged), str(target), "--vae", str(other), "--use-ema-weights"]) == 0
    before, vae, after = weights_of(averaged), weights_of(other), weights_of(target)
    assert not any(name.startswith("model_ema") for name in load_file(target))
    for name, tensor in after.items():
        if name.startswith("unet."):
            assert torch.equal(tensor, (before[name].half() + 1).float()), name
        else:
            assert torch.equal(tensor, (vae if name.startswith("vae.") else before)[name].to(tensor.dtype)), name


def test_bad_asks_are_named_all_at_once(
    sources: dict[tuple[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each wrong word has its problem and exit code 2, and nothing is written."""
    source = str(sources["v1", "file"])
    assert convert([source, "--json"]) == 2
    assert [problem["code"] for problem in said(capsys)] == ["value.words"]
    wrong = ["--save_precision", "fp8", "--learning_rate", "1", "--lerning", "2", "--json"]
    assert convert([source, str(tmp_path / "x.ckpt"), *wrong]) == 2
    assert {field for problem in said(capsys) for field in problem["fields"]} >= {"save_precision", "learning_rate"}
    gone = [str(tmp_path / "none.ckpt"), str(tmp_path / "x.pt"), "--vae", str(tmp_path / "none.pt"), "--json"]
    assert convert(gone) == 2
    assert [problem["code"] for problem in said(capsys)] == ["value.target", "disk.model_missing"]
    assert convert([source, str(tmp_path / "x.ckpt"), "--vae", str(tmp_path / "none.pt"), "--json"]) == 2
    assert [problem["code"] for problem in said(capsys)] == ["disk.vae_missing"]
    assert convert([source, str(tmp_path / "x.ckpt"), "--use_ema_weights", "--json"]) == 2
    assert [problem["code"] for problem in said(capsys)] == ["disk.model_no_ema"]
    assert list(tmp_path.iterdir()) == []
    assert inspect([source, "--vae", "x"]) == 2
    assert inspect([]) == 2


def test_nothing_is_replaced_unasked(
    sources: dict[tuple[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model that is there is replaced with --overwrite only, and a folder of other things never."""
    source, target = str(sources["v1", "file"]), tmp_path / "x"
    assert convert([source, str(target)]) == 0
    assert convert([source, str(target), "--json"]) == 2
    capsys.readouterr()
    assert convert([source, str(target), "--overwrite"]) == 0
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "a.png").touch()
    capsys.readouterr()
    for place in (pictures, pictures / "a.png"):
        assert convert([source, str(place), "--overwrite", "--json"]) == 2
        assert said(capsys)[0]["code"] == "disk.target"
    assert (pictures / "a.png").exists()
    networks = load(Path(source))
    with pytest.raises(FileExistsError, match="no Diffusers model"):
        save_model(networks, pictures, form="diffusers", precision="fp16")
    assert (pictures / "a.png").exists()


def test_a_place_that_cannot_be_written_to_is_exit_code_1(
    sources: dict[tuple[str, str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong with the disk, and no mistake of the user's, is said in a sentence and is 1."""
    (tmp_path / "file").touch()
    assert convert([str(sources["v1", "file"]), str(tmp_path / "file" / "x.safetensors")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_silent_2x_model_is_asked(
    sources: dict[tuple[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where no word says what a 2.x model predicts, the flag does, else the weights, else the user is asked."""
    bare = tmp_path / "bare.safetensors"
    words = read_checkpoint(sources["v2", "file"]).content.metadata
    hints = {name: words[name] for name in ("atelier.architecture", "modelspec.resolution")}
    save_file(load_file(sources["v2", "file"]), bare, hints)
    target = tmp_path / "x.safetensors"
    assert convert([str(bare), str(target), "--json"]) == 2
    (problem,) = said(capsys)
    assert problem["code"] == "disk.model_prediction"
    assert [mend["values"] for mend in problem["mends"]] == [{"v_parameterization": flag} for flag in (True, False)]
    for flag, prediction in (("true", "v"), ("false", "epsilon")):
        assert convert([str(bare), str(target), "--v_parameterization", flag, "--overwrite"]) == 0
        assert read_checkpoint(target).content.metadata["modelspec.prediction_type"] == prediction
    # Tiny weights are random and tell nothing; that trained ones tell is shown where the probe is tested.
    monkeypatch.setattr(converting, "probe_prediction", lambda _networks: "v")
    assert convert([str(bare), str(target), "--overwrite"]) == 0
    assert read_checkpoint(target).content.metadata["modelspec.prediction_type"] == "v"


@pytest.mark.parametrize("kind", ["file", "pickled", "folder"])
def test_inspect_says_it_in_words(
    kind: str, sources: dict[tuple[str, str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """Family, prediction, size, precision and parts stand in the text, and the record of the training."""
    assert inspect([str(sources["v2", kind])]) == 0
    text = capsys.readouterr().out
    for words in ("Stable Diffusion 2.x", "v, as", "64 pixels", "fp16", "540,356", "16 wide, 3 layers"):
        assert words in text
    assert ("atelier.step: 7" in text) == (kind != "pickled")
    assert ("global_step: 7" in text) == (kind == "pickled")


SET = {"learning_rate": 1e-4, "optimizer_type": "AdamW", "v2": False, "of_later": 3}


@pytest.mark.parametrize(
    ("said", "shown"),
    [(json.dumps(SET), "learning_rate 0.0001, of_later 3"), ("{}", "all as they come"), ("[1]", "[1]"), ("{", "{")],
)
def test_inspect_tells_the_options_that_were_set(
    said: str, shown: str, loaded: dict[str, Networks], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the recorded options the text has those that are not as they come; what is no record is shown as it is."""
    words = {"atelier.options": said}
    path = save_model(loaded["v1"], tmp_path / "x", form="safetensors", precision="fp16", metadata=words)[0]
    assert inspect([str(path)]) == 0
    assert f"atelier.options: {shown}\n" in capsys.readouterr().out


def test_the_verbs_run_as_programs(sources: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    """`python -m trainer convert` with --json prints JSON alone; exit codes are 0 and 2; inspect needs no torch."""
    target = tmp_path / "ümlaut x.ckpt"
    done = trainer("convert", sources["v1", "folder"], target, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["written"] == [str(target)]
    done = trainer("inspect", target, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["family"] == "v1"
    shutil.copy(__file__, tmp_path / "text.ckpt")
    done = trainer("inspect", tmp_path / "text.ckpt")
    assert done.returncode == 2 and "cannot be read" in done.stderr
