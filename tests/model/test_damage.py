"""Damaged and strange models: whatever stands in a file or a config, loading it ends in networks or in one problem."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from tests.tiny_models import load
from trainer.contract.config import ModelSection
from trainer.contract.problems import Problem
from trainer.model.inspect import ModelFacts, check_model, inspect_model
from trainer.model.load import Networks
from trainer.model.refusals import UnusableModel
from trainer.model.save import save_model

BAD: list[Any] = ["many", -8, 0, None, [], True, {}, [None, "x"], 2.5]
SETTINGS = [
    *(("unet", name) for name in ("block_out_channels", "layers_per_block", "cross_attention_dim", "norm_num_groups")),
    *(("unet", name) for name in ("attention_head_dim", "down_block_types", "up_block_types", "act_fn", "in_channels")),
    *(("text_encoder", name) for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act")),
    *(("text_encoder", name) for name in ("intermediate_size", "vocab_size", "max_position_embeddings")),
    *(("vae", name) for name in ("block_out_channels", "layers_per_block", "norm_num_groups", "latent_channels")),
]


def says(path: Path) -> str | None:
    """What keeps the model from loading, None where nothing does; anything else than a problem is raised."""
    try:
        load(path)
    except UnusableModel as refusal:
        return advised_once(refusal.problem.message)
    return None


def advised_once(message: str) -> str:
    """The message, in which no advice may stand twice."""
    twice = [word for word in ("again", "copy", "download", "choose") if message.lower().count(word) > 1]
    assert not twice, message
    return message


@pytest.fixture(scope="module")
def files(loaded: dict[str, Networks], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> a tiny .safetensors file."""
    root = tmp_path_factory.mktemp("files")
    return {
        family: save_model(networks, root / family, form="safetensors", precision="fp16")[0]
        for family, networks in loaded.items()
    }


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize(
    ("family", "ending"),
    [
        ("v1", "attn2.to_k.weight"),
        ("v1", "out_layers.3.weight"),
        ("v1", "decoder.conv_in.weight"),
        ("v1", "block.0.conv2.weight"),
        ("v1", "mlp.fc1.weight"),
        ("v1", "position_embedding.weight"),
        ("v1", "token_embedding.weight"),
        ("v2", "attn.in_proj_weight"),
        ("v2", "attn.in_proj_bias"),
        ("v2", "mlp.c_fc.weight"),
        ("v2", ".positional_embedding"),
    ],
)
def test_weights_of_a_wrong_rank(
    ending: str, shape: tuple[int, ...], family: str, files: dict[str, Path], tmp_path: Path
) -> None:
    """Weights with too few sides are one problem."""
    tensors = load_file(files[family])
    changed = [name for name in tensors if name.endswith(ending)]
    assert changed
    save_file(tensors | {name: torch.zeros(shape) for name in changed}, tmp_path / "x.safetensors")
    assert says(tmp_path / "x.safetensors") is not None


@pytest.mark.parametrize("number", ["99999999999", "9" * 5000])
def test_names_with_absurd_numbers(number: str, files: dict[str, Path], tmp_path: Path) -> None:
    """Blocks whose numbers are no numbers of blocks neither stop the reader nor fill the memory."""
    parts = {
        "model.diffusion_model.input_blocks.{}.0.op.weight",
        "first_stage_model.encoder.down.{}.block.0.conv2.weight",
        "first_stage_model.encoder.down.0.block.{}.conv2.weight",
        "cond_stage_model.transformer.text_model.encoder.layers.{}.mlp.fc1.weight",
    }
    more = {part.format(number): torch.zeros(1) for part in parts}
    save_file(load_file(files["v1"]) | more, tmp_path / "x.safetensors")
    assert isinstance(inspect_model(str(tmp_path / "x.safetensors")), ModelFacts)
    says(tmp_path / "x.safetensors")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(place=("unet", "block_out_channels"), value=None)
@example(place=("unet", "block_out_channels"), value=[])
@example(place=("text_encoder", "num_hidden_layers"), value="many")
@example(place=("text_encoder", "num_attention_heads"), value=0)
@example(place=("vae", "norm_num_groups"), value=-8)
@given(place=st.sampled_from(SETTINGS), value=st.sampled_from(BAD))
def test_bad_settings(
    place: tuple[str, str], value: Any, tiny: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A config with a bad value loads or is one problem that can be read in one line."""
    folder = tmp_path_factory.mktemp("bad") / "model"
    shutil.copytree(tiny["v1"], folder)
    path = folder / place[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {place[1]: value}), encoding="utf-8")
    said = says(folder)
    assert said is None or (len(said) < 600 and "\n" not in said)
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    "place", [("unet", "layers_per_block"), ("vae", "layers_per_block"), ("text_encoder", "num_hidden_layers")]
)
@pytest.mark.parametrize("count", [10**8, [10**8, 1]])
def test_an_absurd_depth_is_refused(place: tuple[str, str], count: Any, tiny: dict[str, Path], tmp_path: Path) -> None:
    """A number of layers that would be built for hours is a problem that names it."""
    folder = shutil.copytree(tiny["v1"], tmp_path / "model")
    path = folder / place[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {place[1]: count}), encoding="utf-8")
    said = says(folder)
    assert said is not None and place[1] in said and "100000000" in said


@pytest.mark.parametrize("part", ["unet", "text_encoder", "vae"])
def test_settings_that_build_nothing_are_named(part: str, tiny: dict[str, Path], tmp_path: Path) -> None:
    """The problem names the network whose settings are bad."""
    folder = shutil.copytree(tiny["v1"], tmp_path / "model")
    path = folder / part / "config.json"
    bad = {"block_out_channels": "wide", "hidden_size": "wide"}
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | bad), encoding="utf-8")
    said = says(folder)
    assert said is not None and {"unet": "U-Net", "text_encoder": "text encoder", "vae": "VAE"}[part] in said


@pytest.mark.parametrize("value", [0, True, -8, "64", None, 10**12, [64]])
def test_a_home_size_is_a_size(value: Any, tiny: dict[str, Path], tmp_path: Path) -> None:
    """A `sample_size` that is no size is as if there were none: 512 for 1.x."""
    folder = shutil.copytree(tiny["v1"], tmp_path / "model")
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"sample_size": value}), encoding="utf-8")
    facts = inspect_model(str(folder))
    assert isinstance(facts, ModelFacts) and facts.home_size == 512


@pytest.mark.parametrize("said", ["0x0", "99999999999x9", "none"])
def test_a_resolution_in_the_metadata_is_a_size(said: str, files: dict[str, Path], tmp_path: Path) -> None:
    """So is a resolution in a file's metadata."""
    save_file(load_file(files["v1"]), tmp_path / "x.safetensors", {"modelspec.resolution": said})
    facts = inspect_model(str(tmp_path / "x.safetensors"))
    assert isinstance(facts, ModelFacts) and facts.home_size == 512


def test_a_scheduler_without_a_class_is_saved_all_the_same(tiny: dict[str, Path], tmp_path: Path) -> None:
    """A scheduler config that names no class costs no training: the family's own is written."""
    folder = shutil.copytree(tiny["v1"], tmp_path / "model")
    (folder / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "epsilon"}', encoding="utf-8")
    saved = save_model(load(folder), tmp_path / "out", form="diffusers_safetensors", precision="fp16")[0]
    assert isinstance(inspect_model(str(saved)), ModelFacts)


def words_of(path: Path) -> str:
    """The message of the problem with a path."""
    found = inspect_model(str(path))
    assert isinstance(found, Problem)
    return advised_once(found.message)


@pytest.mark.parametrize("kept", [0, 5, 100, 0.5, 0.999])
@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_file_cut_short_says_once_what_to_do(
    ending: str, kept: float, files: dict[str, Path], tmp_path: Path
) -> None:
    """Wherever a download broke off: what happened, then what to do."""
    path = tmp_path / f"model.{ending}"
    if ending == "ckpt":
        torch.save({"state_dict": load_file(files["v1"])}, path)
    else:
        shutil.copy(files["v1"], path)
    size = path.stat().st_size
    os.truncate(path, kept if isinstance(kept, int) else int(kept * size))
    said = words_of(path)
    assert said.startswith(f"model.{ending} cannot be read: it")
    assert said.endswith(". Copy or download it again, or choose another one.")
    if ending == "safetensors" and kept == 0.5:
        assert f"it ends too early, after {size // 2:,} of {size:,} bytes." in said


def test_a_vae_cut_short_says_once_what_to_do(tiny: dict[str, Path], tmp_path: Path) -> None:
    """So does a network in a folder, and one that was chosen as the VAE."""
    folder = shutil.copytree(tiny["v1"], tmp_path / "model")
    (weights,) = (folder / "vae").glob("*.safetensors")
    os.truncate(weights, weights.stat().st_size // 2)
    _, problems = check_model(ModelSection(pretrained_model_name_or_path=str(tiny["v1"]), vae=str(folder)))
    for said in (words_of(folder), *(advised_once(problem.message) for problem in problems)):
        assert "it ends too early, after" in said and said.endswith(
            " Copy or download it again, or choose another one."
        )
    assert [problem.fields for problem in problems] == [("vae",)]


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_git_lfs_pointer_is_called_so(ending: str, tmp_path: Path) -> None:
    """The note that Git leaves in place of a large file is not called a damaged file."""
    path = tmp_path / f"model.{ending}"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 2132625894\n", "utf-8")
    assert "Git LFS pointer" in words_of(path) and "git lfs pull" in words_of(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes in folders are a thing of Unix")
@pytest.mark.timeout(20)
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A named pipe is refused by what it is, at once."""
    os.mkfifo(tmp_path / "model.safetensors")
    assert "no ordinary file" in words_of(tmp_path / "model.safetensors")


@pytest.mark.parametrize(
    ("content", "words"), [("[]", "a list"), ("1", "a number"), ("null", "nothing"), ("{", "is no JSON")]
)
def test_an_index_that_is_no_table(content: str, words: str, tiny: dict[str, Path], tmp_path: Path) -> None:
    """Valid JSON of another kind is not called no JSON."""
    folder = shutil.copytree(tiny["v1"], tmp_path / "model")
    (folder / "model_index.json").write_text(content, encoding="utf-8")
    assert "model_index.json" in words_of(folder) and words in words_of(folder)


@pytest.mark.parametrize("state", [torch.zeros(3), {"x": torch.zeros(3)}, {"x": torch.zeros(4, 4)}])
def test_one_tensor_is_no_embedding(state: Any, tmp_path: Path) -> None:
    """One tensor is an embedding where it is as wide as a token, and else nothing that we know."""
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    assert "embedding" not in words_of(tmp_path / "x.ckpt")
    torch.save({"<a-thing>": torch.zeros(2, 768)}, tmp_path / "y.bin")
    assert "a text embedding" in words_of(tmp_path / "y.bin")


@pytest.mark.parametrize("name", ["../../x.safetensors", "..\\x.safetensors", "/x.safetensors", "C:x.safetensors"])
def test_parts_elsewhere_are_refused(name: str, tiny: dict[str, Path], tmp_path: Path) -> None:
    """An index of parts reaches no file outside its folder, though the file is there and fits."""
    folder = shutil.copytree(tiny["v1"], tmp_path / "a" / "model")
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.move(weights, tmp_path / "a" / "x.safetensors")
    index = weights.with_name(f"{weights.name}.index.json")
    index.write_text(json.dumps({"weight_map": {"conv_in.weight": name}}), encoding="utf-8")
    assert "would lie in another folder" in words_of(folder)
