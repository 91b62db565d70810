"""Every kind of 1.x and 2.x checkpoint becomes the same networks, with the network off."""

import json
import shutil
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from tests.tiny_models import load, make_tiny
from trainer.model.checkpoint import read_checkpoint
from trainer.model.keys import ema_names, unet_names
from trainer.model.load import Networks, load_ema, load_vae
from trainer.model.refusals import UnusableModel
from trainer.model.save import save_model

State = dict[str, torch.Tensor]
FAMILIES = ("v1", "v2")


def assert_same(ours: Networks, theirs: Networks, parts: Iterable[str] = ("unet", "text_encoder", "vae")) -> None:
    """All weights equal bit for bit, and they compute the same."""
    for part in parts:
        mine, other = (getattr(networks, part).state_dict() for networks in (ours, theirs))
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name].to(mine[name].dtype)) for name in mine), part
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = [n.text_encoder(torch.tensor(n.tokenizer.encode(["a cat"]))).last_hidden_state for n in (ours, theirs)]
        outputs = [n.unet(noise, 7, states[0]).sample for n in (ours, theirs)]
    assert torch.equal(*states)
    assert torch.equal(*outputs)


@pytest.fixture(scope="module")
def single(loaded: dict[str, Networks], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> a .safetensors file in fp32."""
    root = tmp_path_factory.mktemp("single")
    return {
        family: save_model(networks, root / family, form="safetensors", precision="float")[0]
        for family, networks in loaded.items()
    }


def state_and_words(path: Path) -> tuple[State, dict[str, str]]:
    """The tensors and the metadata of a file."""
    checkpoint = read_checkpoint(path)
    return load_file(path), dict(checkpoint.content.metadata)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder_gives_what_diffusers_reads_from_it(
    family: str, tiny: dict[str, Path], loaded: dict[str, Networks]
) -> None:
    """U-Net, text encoder and VAE have the values that diffusers' own pipeline has."""
    pipeline = StableDiffusionPipeline.from_pretrained(tiny[family])
    networks = loaded[family]
    for part in ("unet", "text_encoder", "vae"):
        theirs, ours = getattr(pipeline, part).state_dict(), getattr(networks, part).state_dict()
        assert theirs.keys() == ours.keys()
        assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert networks.family == family
    assert networks.prediction == {"v1": "epsilon", "v2": "v"}[family]
    assert networks.unet.dtype == networks.text_encoder.dtype == torch.float32
    assert not networks.unet.training
    assert all(parameter.requires_grad for parameter in networks.unet.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_single_file_gives_what_diffusers_reads_from_it(
    family: str, tiny: dict[str, Path], single: dict[str, Path], loaded: dict[str, Networks]
) -> None:
    """diffusers' own reader of single files finds in ours the weights of the folder it came from."""
    pipeline = StableDiffusionPipeline.from_single_file(
        str(single[family]), config=str(tiny[family]), safety_checker=None
    )
    ours = load(single[family])
    assert_same(ours, loaded[family])
    for part in ("unet", "text_encoder", "vae"):
        theirs, mine = getattr(pipeline, part).state_dict(), getattr(ours, part).state_dict()
        assert all(torch.equal(theirs[name].reshape(mine[name].shape), mine[name]) for name in mine), part


@pytest.mark.parametrize("layers_per_block", [1, 2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_any_number_of_blocks(family: str, layers_per_block: int, tmp_path: Path) -> None:
    """Folder -> file -> networks works for any depth, not only the published one."""
    folder = load(make_tiny(tmp_path / "tiny", family, layers_per_block=layers_per_block))
    path = save_model(folder, tmp_path / "x", form="safetensors", precision=None)[0]
    assert load(path).unet.config.layers_per_block == layers_per_block
    assert_same(load(path), folder)


@pytest.mark.parametrize("kind", ["bin", "fp16 variant", "shards", "bin shards", "no prefix", "older names"])
def test_folders_of_all_kinds(kind: str, tiny: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path) -> None:
    """.bin files, variants, shards, and the names that older and newer libraries write."""
    folder = shutil.copytree(tiny["v1"], tmp_path / "model")
    for part in ("unet", "text_encoder", "vae"):
        path = next((folder / part).glob("*.safetensors"))
        state = load_file(path)
        path.unlink()
        rewrite(kind, path, state)
    assert_same(load(folder), loaded["v1"])


def rewrite(kind: str, path: Path, state: State) -> None:
    """Write a component's weights as another program would have."""
    text = path.parent.name == "text_encoder"
    pickled = path.with_name("pytorch_model.bin" if text else "diffusion_pytorch_model.bin")
    if kind == "bin":
        torch.save(state, pickled)
    elif kind == "fp16 variant":
        save_file({name: tensor.half() for name, tensor in state.items()}, path.with_suffix(".fp16.safetensors"))
    elif kind in ("shards", "bin shards"):
        place = pickled if kind == "bin shards" else path
        names = sorted(state)
        weight_map = {}
        for number, half in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
            part = place.with_name(f"{place.stem}-0000{number}-of-00002{place.suffix}")
            rows = {name: state[name] for name in half}
            torch.save(rows, part) if kind == "bin shards" else save_file(rows, part)
            weight_map |= dict.fromkeys(half, part.name)
        place.with_name(f"{place.name}.index.json").write_text(json.dumps({"weight_map": weight_map}), encoding="utf-8")
    elif kind == "no prefix":
        save_file({name.removeprefix("text_model."): tensor for name, tensor in state.items()}, path)
    else:
        old = {"to_q.": "query.", "to_k.": "key.", "to_v.": "value.", "to_out.0.": "proj_attn."}
        if path.parent.name == "vae":
            for new, before in old.items():
                state = {name.replace(f"attentions.0.{new}", f"attentions.0.{before}"): t for name, t in state.items()}
        if text:
            state["text_model.embeddings.position_ids"] = torch.arange(77)[None]
        save_file(state, path)


class Callback:
    """Stands for pytorch_lightning's classes, which the reader does not have."""

    def __init__(self) -> None:
        self.best = {"score": 1.0}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("legacy", [False, True])
def test_training_checkpoints_load_without_their_classes(
    family: str, legacy: bool, single: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """A .ckpt as Lightning writes it, with callbacks and optimizer, in both of torch's layouts."""
    state, words = state_and_words(single[family])
    stand_in = ModuleType("pytorch_lightning_for_a_test")
    Callback.__module__, stand_in.Callback = stand_in.__name__, Callback
    sys.modules[stand_in.__name__] = stand_in
    content = {
        "state_dict": OrderedDict(state),
        "callbacks": {Callback: {"monitor": Callback(), "set": {1, 2}}},
        "optimizer_states": [{"state": {0: {"step": 5, "exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-4}]}],
        "pytorch-lightning_version": "1.4.2",
        "epoch": 5,
        "global_step": 470_000,
        "atelier.architecture": words["atelier.architecture"],
        "modelspec.resolution": "64x64",
    }
    path = tmp_path / "lightning.ckpt"
    try:
        torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    finally:
        del sys.modules[stand_in.__name__]
    networks = load(path, v_parameterization=family == "v2")
    assert_same(networks, loaded[family])
    assert (networks.facts.metadata["epoch"], networks.facts.metadata["global_step"]) == (5, 470_000)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["bare", "parameters", "strided", "bf16", "fp16", "mixed", "shuffled"])
def test_single_files_of_all_kinds(
    kind: str, family: str, single: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """A bare state dict, parameters, views of shared memory, half and mixed precisions give the same networks."""
    state, words = state_and_words(single[family])
    hint = {"atelier.architecture": words["atelier.architecture"]}
    same = True
    if kind == "parameters":
        state = {name: torch.nn.Parameter(t) if t.is_floating_point() else t for name, t in state.items()}
    elif kind == "strided":
        state = {
            name: t.transpose(0, -1).contiguous().transpose(0, -1) if t.ndim > 1 else t for name, t in state.items()
        }
    elif kind == "bf16":
        state, same = {name: t.bfloat16() if t.is_floating_point() else t for name, t in state.items()}, False
    elif kind == "fp16":
        state = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    elif kind == "mixed":
        state = {name: t.half() if t.is_floating_point() and len(name) % 2 else t for name, t in state.items()}
    elif kind == "shuffled":
        state = dict(reversed(state.items()))
    path = tmp_path / f"{kind}.ckpt"
    torch.save({**state, **hint} if kind == "bare" else {"state_dict": state, **hint}, path)
    networks = load(path)
    if same:
        assert_same(networks, loaded[family])
    expected = {"bf16": "bf16", "fp16": "fp16", "mixed": "mixed"}.get(kind, "float")
    assert networks.facts.precision == expected
    assert networks.vae.dtype == {"bf16": torch.bfloat16, "fp16": torch.float16}.get(kind, torch.float32)


def test_alternate_text_encoder_names(single: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path) -> None:
    """Early files leave `text_model.` out of the text encoder's names; a saved file has the usual ones, once."""
    state, words = state_and_words(single["v1"])
    usual = "cond_stage_model.transformer.text_model."
    state = {name.replace(usual, "cond_stage_model.transformer."): tensor for name, tensor in state.items()}
    save_file(state, tmp_path / "early.safetensors", words)
    networks = load(tmp_path / "early.safetensors")
    assert_same(networks, loaded["v1"])
    again = save_model(networks, tmp_path / "again", form="safetensors", precision="float")[0]
    assert load_file(again).keys() == load_file(single["v1"]).keys()


def make_vae_file(kind: str, folder: Path, single_file: Path) -> Path:
    """One of the ways in which VAEs are handed around."""
    state = load_file(single_file)
    inner = {n.removeprefix("first_stage_model."): t for n, t in state.items() if n.startswith("first_stage_model.")}
    path = folder / f"vae.{kind.split()[-1]}"
    words = {"atelier.architecture": read_checkpoint(single_file).content.metadata["atelier.architecture"]}
    if kind.startswith("bare") and path.suffix == ".safetensors":
        save_file(inner, path, words)
    elif kind.startswith("bare"):
        torch.save(inner | words, path)
    elif kind.startswith("loss"):
        torch.save({"state_dict": inner | {"loss.logvar": torch.zeros(())}, **words}, path)
    elif kind.startswith("full") and path.suffix == ".safetensors":
        shutil.copy(single_file, path)
    else:
        torch.save({"state_dict": state, **words}, path)
    return path


@pytest.mark.parametrize(
    "kind", ["folder", "vae folder", "bare .pt", "bare safetensors", "loss ckpt", "full ckpt", "full safetensors"]
)
def test_the_vae_option_takes_all_kinds(kind: str, tiny: dict[str, Path], tmp_path: Path) -> None:
    """A replacement VAE is loaded from folders and files of all kinds and is what is saved."""
    other = make_tiny(tmp_path / "other", "v1", seed=5)
    other_networks = load(other)
    if kind == "folder":
        path = other
    elif kind == "vae folder":
        path = other / "vae"
    else:
        file = save_model(other_networks, tmp_path / "other file", form="safetensors", precision="float")[0]
        path = make_vae_file(kind, tmp_path, file)
    vae = load_vae(str(path)).state_dict()
    assert all(torch.equal(vae[name], tensor) for name, tensor in other_networks.vae.state_dict().items())
    networks = load(tiny["v1"], vae=str(path))
    saved = load(save_model(networks, tmp_path / "saved", form="ckpt", precision="float")[0])
    assert all(torch.equal(saved.vae.state_dict()[name], tensor) for name, tensor in vae.items())
    assert torch.equal(saved.unet.conv_in.weight, load(tiny["v1"]).unet.conv_in.weight)


def test_a_pruned_file_loads_with_a_vae(
    tiny: dict[str, Path], single: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """A file without a VAE loads where one is given, and is refused with the words of the gate where none is."""
    state, words = state_and_words(single["v1"])
    state = {name: tensor for name, tensor in state.items() if not name.startswith("first_stage_model.")}
    save_file(state, tmp_path / "pruned.safetensors", words)
    assert_same(load(tmp_path / "pruned.safetensors", vae=str(tiny["v1"])), loaded["v1"])
    with pytest.raises(UnusableModel) as refusal:
        load(tmp_path / "pruned.safetensors")
    assert refusal.value.problem.code == "disk.model_no_vae"


@pytest.mark.parametrize("part", ["model.diffusion_model.mid", "model.diffusion_model.out.2.bias", "text_model.final"])
def test_an_incomplete_file_is_refused(part: str, single: dict[str, Path], tmp_path: Path) -> None:
    """A file in which weights are missing is one problem that counts them."""
    state, words = state_and_words(single["v1"])
    save_file({name: t for name, t in state.items() if part not in name}, tmp_path / "part.safetensors", words)
    with pytest.raises(UnusableModel) as refusal:
        load(tmp_path / "part.safetensors")
    assert refusal.value.problem.code == "disk.model_incomplete"
    assert "weights are missing" in refusal.value.problem.message


@pytest.mark.parametrize("naming", [0, 1, 2])
def test_averages_are_read_under_all_names(
    naming: int, single: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """Averages are found under each of the three namings, and are no part of what is loaded or saved."""
    state, words = state_and_words(single["v1"])
    names = unet_names(loaded["v1"].unet.state_dict())
    for original in names.values():
        state[ema_names(original)[naming]] = state[original] + 1
    save_file(state, tmp_path / "ema.safetensors", words)
    networks = load(tmp_path / "ema.safetensors")
    assert networks.facts.has_ema
    assert_same(networks, loaded["v1"])
    ema = load_ema(networks)
    assert ema is not None
    assert all(torch.equal(ema[name], tensor + 1) for name, tensor in networks.unet.state_dict().items())
    again = save_model(networks, tmp_path / "again", form="safetensors", precision="float")[0]
    assert not any(name.startswith("model_ema") for name in load_file(again))
    assert load_ema(loaded["v1"]) is None


def test_the_source_may_go_away(single: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path) -> None:
    """After loading, the source can be deleted or overwritten: nothing of it is needed or held open."""
    path = Path(shutil.copy(single["v2"], tmp_path / "source.safetensors"))
    networks = load(path)
    path.unlink()
    saved = save_model(networks, tmp_path / "source", form="safetensors", precision="float")[0]
    assert saved == path
    assert_same(load(path), loaded["v2"])


def test_the_job_decides_what_is_predicted(tiny: dict[str, Path]) -> None:
    """v_parameterization trains an epsilon model to predict v, and its scheduler says so."""
    networks = load(tiny["v1"], v_parameterization=True)
    assert networks.prediction == "v"
    assert networks.scheduler["prediction_type"] == "v_prediction"
    assert load(tiny["v1"]).scheduler["prediction_type"] == "epsilon"


def test_no_network_is_touched(tiny: dict[str, Path], single: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading asks no name server for anything, whatever the hub's settings are."""

    def forbidden(*_arguments: object, **_named: object) -> Callable[..., None]:
        raise AssertionError("something asked for the network")

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("socket.getaddrinfo", forbidden)
    load(tiny["v1"])
    load(single["v2"])
