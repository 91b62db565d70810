"""The disk gate of the model: facts where there is a model, one clear problem where there is none."""

import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.checkpoints import write_table
from tests.tiny_models import load
from trainer.contract.config import ModelSection
from trainer.contract.problems import Problem
from trainer.contract.saves import SaveSection
from trainer.model.hub import wanted_files
from trainer.model.inspect import ModelFacts, check_model, inspect_model, list_models
from trainer.model.load import Networks
from trainer.model.refusals import UnusableModel
from trainer.model.save import save_model
from trainer.model.saved_size import saved_bytes

FIELD = "pretrained_model_name_or_path"


@pytest.fixture(scope="module")
def files(loaded: dict[str, Networks], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """ "v1.safetensors" and so on -> a tiny single file."""
    root = tmp_path_factory.mktemp("files")
    for family, networks in loaded.items():
        for form in ("safetensors", "ckpt"):
            save_model(networks, root / family, form=form, precision="fp16", epoch=1, step=10)
    return {path.name: path for path in root.iterdir()}


def problem_of(path: Path | str, **options: object) -> Problem:
    """The one problem that the gate finds."""
    facts, problems = check_model(ModelSection(pretrained_model_name_or_path=str(path), **options))
    assert len(problems) == 1, problems
    assert facts is None or problems[0].code in ("disk.model_no_vae", "disk.model_family", "disk.model_prediction")
    return problems[0]


def change(source: Path, target: Path, edit: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Path:
    """A copy of a .safetensors file with other tensors and without metadata."""
    save_file(edit(load_file(source)), target)
    return target


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("form", ["folder", "safetensors", "ckpt"])
def test_facts(family: str, form: str, tiny: dict[str, Path], files: dict[str, Path]) -> None:
    """Family, prediction, size, text encoder and parts are read alike from a folder and from both kinds of file."""
    facts = inspect_model(str(tiny[family] if form == "folder" else files[f"{family}.{form}"]))
    assert isinstance(facts, ModelFacts)
    assert (facts.family, facts.has_vae, facts.has_ema) == (family, True, False)
    assert facts.prediction == {"v1": None if form == "ckpt" else "epsilon", "v2": "v"}[family]
    assert facts.home_size == 64
    assert facts.precision == ("float" if form == "folder" else "fp16")
    assert (facts.text_width, facts.text_layers) == (16, {"v1": 2, "v2": 3}[family])
    assert facts.parameters["unet"] == 540_356
    assert facts.form == ("folder" if form == "folder" else "file")
    if form == "safetensors":
        assert facts.metadata["atelier.step"] == "10"
    if form == "ckpt":
        assert facts.metadata["global_step"] == 10


def test_of_a_real_file_only_the_table_is_read(tmp_path: Path) -> None:
    """Of a 2.6 GB file (sparse, with a real file's table) under 2 MB are read, and its saved size is foretold."""
    path = tmp_path / "real.safetensors"
    write_table(path, "v2")
    # The kernel counts what this process reads, whichever way it does.
    counts = Path("/proc/self/io")
    before = counts.read_text() if counts.exists() else None
    facts = inspect_model(str(path))
    if before is not None:
        read = [int(words.split("rchar:")[1].split()[0]) for words in (before, counts.read_text())]
        assert read[1] - read[0] < 2_000_000
    assert isinstance(facts, ModelFacts)
    assert (facts.family, facts.text_width, facts.text_layers, facts.home_size) == ("v2", 1024, 23, None)
    assert facts.prediction is None and facts.prediction_known_from == "nothing in it"
    saves = SaveSection(save_precision="fp16")
    assert abs(saved_bytes(facts, saves) / path.stat().st_size - 1) < 0.01


def test_a_yaml_beside_the_file_tells_the_prediction(files: dict[str, Path], tmp_path: Path) -> None:
    """The configs that web UIs want beside 2.x files are believed where the file itself says nothing."""
    path = change(files["v2.safetensors"], tmp_path / "bare.safetensors", dict)
    facts = inspect_model(str(path))
    assert isinstance(facts, ModelFacts) and facts.prediction is None
    for name, prediction, side in (("v2-inference-v", "v", 768), ("v2-inference", "epsilon", 512)):
        shutil.copy(Path(__file__).parents[2] / "v2_inference" / f"{name}.yaml", tmp_path / "bare.yaml")
        facts = inspect_model(str(path))
        assert isinstance(facts, ModelFacts)
        assert (facts.prediction, facts.prediction_known_from) == (prediction, "bare.yaml")
        assert facts.home_size == side


def test_right_flags_raise_nothing(tiny: dict[str, Path], files: dict[str, Path]) -> None:
    """A model whose flags fit passes the gate."""
    for path in (tiny["v1"], files["v1.safetensors"], files["v1.ckpt"]):
        assert check_model(ModelSection(pretrained_model_name_or_path=str(path)))[1] == []
    for path in (tiny["v2"], files["v2.safetensors"]):
        flags = {"v2": True, "v_parameterization": True}
        assert check_model(ModelSection(pretrained_model_name_or_path=str(path), **flags))[1] == []


def test_wrong_flags_are_mended_in_one_click(tiny: dict[str, Path]) -> None:
    """A contradicting `v2` is one error whose mend sets both flags; a missing `v_parameterization` likewise."""
    problem = problem_of(tiny["v2"])
    assert (problem.code, problem.severity, problem.fields[0]) == ("disk.model_family", "error", "v2")
    assert problem.mends[0].values == {"v2": True, "v_parameterization": True}
    problem = problem_of(tiny["v1"], v2=True, v_parameterization=True)
    assert problem.mends[0].values == {"v2": False, "v_parameterization": False}
    problem = problem_of(tiny["v2"], v2=True)
    assert (problem.code, problem.severity) == ("disk.model_prediction", "error")
    assert problem.mends[0].values == {"v_parameterization": True}
    problem = problem_of(tiny["v1"], v_parameterization=True)
    assert (problem.code, problem.severity) == ("disk.model_prediction", "warning")


def test_missing_and_empty_places(tmp_path: Path) -> None:
    """A path that is not there, a folder without a model, an empty file."""
    assert problem_of(tmp_path / "nothing.safetensors").code == "disk.model_missing"
    assert problem_of(tmp_path).code == "disk.model_folder"
    assert problem_of("x" * 5000 + ".ckpt").code == "disk.model_missing"
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "empty.ckpt").touch()
    for name in ("empty.safetensors", "empty.ckpt"):
        problem = problem_of(tmp_path / name)
        assert problem.code == "disk.model_unreadable" and "0 bytes" in problem.message
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model_index.json").write_text("{}", encoding="utf-8")
    problem = problem_of(tmp_path / "model")
    assert problem.code == "disk.model_unreadable" and "unet" in problem.message and problem.fields == (FIELD,)


@pytest.mark.parametrize("name", ["v1.safetensors", "v1.ckpt"])
@pytest.mark.parametrize("keep", [0.001, 0.3, 0.9, 0.999999])
def test_cut_files(name: str, keep: float, files: dict[str, Path], tmp_path: Path) -> None:
    """A file that was cut anywhere is one problem that says so."""
    path = tmp_path / name
    raw = files[name].read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    assert problem_of(path).code == "disk.model_unreadable"


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_a_cut_part_of_a_folder_is_named(part: str, tiny: dict[str, Path], tmp_path: Path) -> None:
    """Of a Diffusers folder with one damaged file or config, the problem names the part."""
    folder = shutil.copytree(tiny["v2"], tmp_path / "model")
    weights = next((folder / part).glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1000])
    problem = problem_of(folder)
    assert problem.code == "disk.model_unreadable" and f"{part}/{weights.name}" in problem.message
    weights.unlink()
    assert part in problem_of(folder).message


def test_lying_headers(files: dict[str, Path], tmp_path: Path) -> None:
    """A table of contents that contradicts itself or the file is not believed."""
    raw = files["v1.safetensors"].read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    name = "model.diffusion_model.input_blocks.0.0.weight"
    lies = [
        {**header, name: {**header[name], "shape": [320, 4, 3, 3]}},
        {**header, name: {**header[name], "data_offsets": [0, 2**60]}},
        {**header, name: {**header[name], "dtype": "F99"}},
        {**header, name: {**header[name], "shape": [-1, 4]}},
        {**header, name: "nothing"},
        {**header, "second": header[name]},
        ["no", "table"],
    ]
    for lie in lies:
        changed = json.dumps(lie).encode()
        path = tmp_path / "lie.safetensors"
        path.write_bytes(struct.pack("<Q", len(changed)) + changed + raw[8 + length :])
        assert problem_of(path).code == "disk.model_unreadable"
    for start in (2**63, 10**7, 3):
        path.write_bytes(struct.pack("<Q", start) + raw[8:2000])
        assert problem_of(path).code == "disk.model_unreadable"


@pytest.mark.parametrize("part", ["attn2.to_k.weight", "token_embedding.weight"])
def test_a_weight_without_sides(part: str, files: dict[str, Path], tmp_path: Path) -> None:
    """A file in which a matrix is a single number is looked at without a crash, with and without a text encoder."""
    for kept in ("", "model.diffusion_model."):

        def edit(tensors: dict[str, torch.Tensor], kept: str = kept) -> dict[str, torch.Tensor]:
            return {
                name: torch.zeros(()) if name.endswith(part) else tensor
                for name, tensor in tensors.items()
                if name.startswith(kept)
            }

        found = inspect_model(str(change(files["v1.safetensors"], tmp_path / f"{bool(kept)}.safetensors", edit)))
        assert isinstance(found, Problem) if kept else isinstance(found, ModelFacts) and found.family == "v1"


def test_a_zip_that_is_no_checkpoint(tmp_path: Path) -> None:
    """A zip archive of pictures with the wrong ending is no checkpoint."""
    path = tmp_path / "pictures.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"no picture")
    problem = problem_of(path)
    assert problem.code == "disk.model_unreadable" and "zip" in problem.message
    (tmp_path / "text.ckpt").write_text("this is a web page, saved as a model", encoding="utf-8")
    assert problem_of(tmp_path / "text.ckpt").code == "disk.model_unreadable"
    (tmp_path / "text.safetensors").write_text("this is a web page, saved as a model", encoding="utf-8")
    assert problem_of(tmp_path / "text.safetensors").code == "disk.model_unreadable"


class Canary:
    """Runs a command when it is unpickled by an ordinary unpickler."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("with_weights", [False, True])
def test_a_hostile_pickle_is_refused_and_never_run(
    legacy: bool, with_weights: bool, files: dict[str, Path], tmp_path: Path
) -> None:
    """A file that asks to run a program is refused by name, and the program does not run."""
    trace = tmp_path / "ran"
    canary = Canary(f'"{sys.executable}" -c "open({str(trace)!r}, chr(119))"')
    state = torch.load(files["v1.ckpt"], weights_only=True)["state_dict"] if with_weights else {}
    path = tmp_path / "hostile.ckpt"
    torch.save({"state_dict": state, "extra": canary}, path, _use_new_zipfile_serialization=not legacy)
    problem = problem_of(path)
    assert problem.code == "disk.model_hostile" and "system" in problem.message
    assert not trace.exists()
    path.write_bytes(pickle.dumps(canary))
    assert problem_of(path).code == "disk.model_hostile"
    assert not trace.exists()
    trusting = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
    subprocess.run([sys.executable, "-c", trusting, str(path)], check=True)
    assert trace.exists(), "the canary itself must work, or this test proves nothing"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["conditioner.embedders.0.x", "model.diffusion_model.input_blocks.0.0.weight"], "Stable Diffusion XL"),
        (["model.diffusion_model.label_emb.0.0.weight", "model.diffusion_model.a"], "XL"),
        (["model.diffusion_model.joint_blocks.0.x"], "Stable Diffusion 3"),
        (["double_blocks.0.img_attn.qkv.weight"], "Flux"),
        (["lora_unet_down_blocks_0.lora_down.weight"], "LoRA"),
        (["unet.down_blocks.0.attn1.to_q.lora_A.weight"], "LoRA"),
        (["emb_params"], "embedding"),
        (["control_model.input_blocks.0.0.weight"], "ControlNet"),
        (["first_stage_model.encoder.conv_in.weight", "a", "b"], "VAE alone"),
        (["decoder.up.0.block.0.conv1.weight", "encoder.down.0.x", "b"], "VAE alone"),
        (["down_blocks.0.resnets.0.conv1.weight", "conv_in.weight", "x"], "U-Net alone"),
        (["text_model.encoder.layers.0.x", "a", "b"], "text encoder alone"),
        (["something.else", "a", "b"], "no Stable Diffusion model"),
    ],
)
def test_other_kinds_are_refused_by_name(names: list[str], words: str, tmp_path: Path) -> None:
    """A file of another kind is recognised by its names, in both formats."""
    tensors = {name: torch.zeros(2, 2, 2) for name in names}
    save_file(tensors, tmp_path / "other.safetensors")
    torch.save(tensors, tmp_path / "other.ckpt")
    for name in ("other.safetensors", "other.ckpt"):
        problem = problem_of(tmp_path / name)
        assert problem.code == "disk.model_kind" and words in problem.message, problem


def test_an_old_embedding_is_refused_by_name(tmp_path: Path) -> None:
    """The .pt files of textual inversion keep their vectors one level down."""
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": torch.zeros(1, 768)}}, tmp_path / "a.pt")
    assert "embedding" in problem_of(tmp_path / "a.pt").message


@pytest.mark.parametrize(("channels", "words"), [(9, "inpainting"), (5, "depth"), (8, "image-editing"), (6, "6 input")])
def test_special_unets_are_refused_with_the_reason(
    channels: int, words: str, files: dict[str, Path], tiny: dict[str, Path], tmp_path: Path
) -> None:
    """Inpainting, depth and editing models have more input channels than we could feed; file and folder alike."""

    def widen(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = "model.diffusion_model.input_blocks.0.0.weight"
        return {**tensors, name: torch.zeros(16, channels, 3, 3)}

    problem = problem_of(change(files["v1.safetensors"], tmp_path / "special.safetensors", widen))
    assert problem.code == "disk.model_special" and words in problem.message
    folder = shutil.copytree(tiny["v1"], tmp_path / "special")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({**load_file(weights), "conv_in.weight": torch.zeros(16, channels, 3, 3)}, weights)
    problem = problem_of(folder)
    assert problem.code == "disk.model_special" and words in problem.message


def test_pruned_files(files: dict[str, Path], tiny: dict[str, Path], tmp_path: Path) -> None:
    """Without a VAE the gate asks for one, and is content when it is given; without a text encoder it refuses."""

    def without(prefix: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
        return lambda tensors: {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}

    path = change(files["v1.safetensors"], tmp_path / "pruned.safetensors", without("first_stage_model."))
    problem = problem_of(path)
    assert problem.code == "disk.model_no_vae" and problem.fields[0] == "vae"
    assert check_model(ModelSection(pretrained_model_name_or_path=str(path), vae=str(tiny["v1"])))[1] == []
    path = change(files["v1.safetensors"], tmp_path / "textless.safetensors", without("cond_stage_model."))
    assert problem_of(path).code == "disk.model_no_text_encoder"


def test_a_part_of_a_folder_points_to_the_folder(tiny: dict[str, Path]) -> None:
    """Whoever chooses the U-Net's file is told to choose the folder above."""
    problem = problem_of(tiny["v1"] / "unet" / "diffusion_pytorch_model.safetensors")
    assert str(tiny["v1"]) in problem.message


def test_the_vae_option(tiny: dict[str, Path], files: dict[str, Path], tmp_path: Path) -> None:
    """A VAE that is missing, damaged or none is a problem of its own box, found along with the model's."""
    good = [tiny["v1"], tiny["v1"] / "vae", files["v1.ckpt"], files["v1.safetensors"]]
    for path in good:
        assert check_model(ModelSection(pretrained_model_name_or_path=str(tiny["v1"]), vae=str(path)))[1] == []
    (tmp_path / "cut.pt").write_bytes(b"PK\x03\x04 cut")
    bad = {
        tmp_path / "no.pt": "disk.vae_missing",
        tiny["v1"] / "unet" / "diffusion_pytorch_model.safetensors": "disk.vae_kind",
        tmp_path / "cut.pt": "disk.model_unreadable",
        tmp_path: "disk.vae_unreadable",
    }
    for path, code in bad.items():
        facts, problems = check_model(ModelSection(pretrained_model_name_or_path=str(tiny["v1"]), vae=str(path)))
        assert facts is not None
        assert [(problem.code, problem.fields) for problem in problems] == [(code, ("vae",))]
    _, problems = check_model(
        ModelSection(pretrained_model_name_or_path=str(tmp_path / "no"), vae=str(tmp_path / "no"))
    )
    assert len(problems) == 2


def test_hub_names(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub name is no problem while it may be downloaded, one where downloads are off; a mistyped path is one."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    assert check_model(ModelSection(pretrained_model_name_or_path="nobody/nothing-at-all")) == (None, [])
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert problem_of("nobody/nothing-at-all").code == "disk.model_offline"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    assert problem_of("models/sd15").code == "disk.model_missing"
    assert problem_of("models/sd15.safetensors").code == "disk.model_missing"


def test_a_hub_model_is_refused_plainly_where_it_cannot_be_had() -> None:
    """Loading a hub name while downloads are off, as they are in all tests, says what to do."""
    with pytest.raises(UnusableModel) as refusal:
        load(Path("nobody/nothing-at-all"))
    assert refusal.value.problem.code == "disk.model_download"
    assert "could not be downloaded" in refusal.value.problem.message


def test_a_downloaded_model_is_used_from_the_cache(
    tiny: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub model that lies whole in the hub's cache is inspected and loaded with downloads off; a torn one is not."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    revision = "0" * 40
    stored = tmp_path / "models--someone--tiny"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text(revision, encoding="utf-8")
    snapshot = shutil.copytree(tiny["v1"], stored / "snapshots" / revision)
    facts, problems = check_model(ModelSection(pretrained_model_name_or_path="someone/tiny", vae="someone/tiny"))
    assert problems == [] and facts is not None and facts.path == snapshot
    assert load(Path("someone/tiny"), vae="someone/tiny").source == snapshot
    (snapshot / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    assert problem_of("someone/tiny").code == "disk.model_offline"


def test_only_what_is_read_is_downloaded() -> None:
    """Of all the copies that a hub model has of each network, one is taken: .safetensors, whole precision, averaged."""
    part = ["diffusion_pytorch_model", "diffusion_pytorch_model.fp16", "diffusion_pytorch_model.non_ema"]
    names = [f"unet/{stem}.{ending}" for stem in part for ending in ("safetensors", "bin")]
    names += ["unet/config.json", "unet/diffusion_flax_model.msgpack", "unet/model.onnx"]
    names += ["vae/config.json", "vae/diffusion_pytorch_model.fp16.bin", "vae/diffusion_pytorch_model.bin"]
    shards = ["model.fp16-00001-of-00002.safetensors", "model.fp16-00002-of-00002.safetensors"]
    names += [f"text_encoder/{name}" for name in [*shards, "model.safetensors.index.fp16.json", "config.json"]]
    names += ["tokenizer/vocab.json", "scheduler/scheduler_config.json", "safety_checker/model.safetensors"]
    names += ["model_index.json", "v1-5-pruned.safetensors", "README.md"]
    assert wanted_files(names, ("unet", "vae", "text_encoder")) == [
        "unet/diffusion_pytorch_model.safetensors",
        "unet/config.json",
        "vae/config.json",
        "vae/diffusion_pytorch_model.bin",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.fp16-00002-of-00002.safetensors",
        "text_encoder/model.safetensors.index.fp16.json",
        "text_encoder/config.json",
        "scheduler/scheduler_config.json",
        "model_index.json",
    ]
    assert wanted_files(["config.json", "diffusion_pytorch_model.bin", "x.md"], ("",)) == [
        "config.json",
        "diffusion_pytorch_model.bin",
    ]


def test_lists_hold_models_only(tiny: dict[str, Path], files: dict[str, Path], tmp_path: Path) -> None:
    """The page's list has the models of a folder by name and leaves everything else out."""
    shutil.copytree(tiny["v1"], tmp_path / "b folder")
    shutil.copy(files["v2.ckpt"], tmp_path / "a.ckpt")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    assert [facts.name for facts in list_models(tmp_path)] == ["a", "b folder"]
    assert list_models(tmp_path / "nowhere") == []
