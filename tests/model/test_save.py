"""What is written: every tensor as it was, in the asked precision, whole or not at all."""

import hashlib
import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import time
from itertools import combinations_with_replacement
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import load_file

from tests.tiny_models import load
from trainer.contract.saves import SaveFormat
from trainer.model import writing
from trainer.model.architecture import published
from trainer.model.checkpoint import read_checkpoint
from trainer.model.inspect import ModelFacts, inspect_model
from trainer.model.kinds import SCHEDULE_BUFFERS
from trainer.model.load import Networks
from trainer.model.save import save_model
from trainer.model.writing import Outgoing, in_place, write_pickled, write_safetensors

ROOT = Path(__file__).parents[2]
FAMILIES = ("v1", "v2")
FORMS: tuple[SaveFormat, ...] = ("safetensors", "ckpt", "diffusers", "diffusers_safetensors")
DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: torch.float32}
POSITION_IDS = "cond_stage_model.transformer.text_model.embeddings.position_ids"


def tensors_of(path: Path) -> dict[str, torch.Tensor]:
    """All tensors of a model, by file for a folder."""
    if path.is_file():
        return dict(read_checkpoint(path))
    files = sorted(file for file in path.glob("*/*") if file.suffix in (".safetensors", ".bin"))
    return {f"{file.parent.name}/{name}": t for file in files for name, t in read_checkpoint(file).items()}


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    """The same names, dtypes and bits."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert tensor.dtype == other[name].dtype and torch.equal(tensor, other[name]), name


def settings_of(path: Path) -> dict[str, object]:
    """A yaml file of nested names as "outer.inner" -> value; as much of the format as these configs use."""
    found: dict[str, object] = {}
    above: list[tuple[int, str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].rstrip()
        if not text:
            continue
        name, _, value = text.strip().partition(":")
        indent = len(text) - len(text.lstrip())
        above = [(depth, outer) for depth, outer in above if depth < indent] + [(indent, name)]
        if value:
            plain = re.fullmatch(r"\s*[a-zA-Z_][\w./]*", value) and value.strip() not in ("true", "false")
            found[".".join(outer for _, outer in above)] = value.strip() if plain else json.loads(value)
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("first", "second"), list(combinations_with_replacement(FORMS, 2)))
def test_round_trips_are_bit_exact(
    family: str, first: SaveFormat, second: SaveFormat, loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """Format to format and back, in half precision: every tensor is bit for bit the same."""
    one = save_model(loaded[family], tmp_path / "one", form=first, precision="fp16")[0]
    two = save_model(load(one), tmp_path / "two", form=second, precision="fp16")[0]
    three = save_model(load(two), tmp_path / "three", form=first, precision="fp16")[0]
    assert_equal(tensors_of(one), tensors_of(three))
    assert load(three).prediction == {"v1": "epsilon", "v2": "v"}[family]


@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("form", FORMS)
def test_precision(form: SaveFormat, precision: str, loaded: dict[str, Networks], tmp_path: Path) -> None:
    """Every weight has the asked precision, fp32 where none is asked; position ids stay 0..76 in int64."""
    path = save_model(loaded["v1"], tmp_path / "x", form=form, precision=precision)[0]
    tensors = tensors_of(path)
    if path.is_file():
        ids = tensors.pop(POSITION_IDS)
        assert ids.dtype == torch.int64 and torch.equal(ids, torch.arange(77)[None])
    assert {tensor.dtype for tensor in tensors.values()} == {DTYPES[precision]}
    facts = inspect_model(str(path))
    assert isinstance(facts, ModelFacts) and facts.precision == (precision or "float")


@pytest.mark.parametrize("form", ["ckpt", "diffusers"])
def test_torch_loads_what_we_write(form: SaveFormat, loaded: dict[str, Networks], tmp_path: Path) -> None:
    """`torch.load` reads our files without trusting them, mapped into memory or not, and finds data aligned."""
    path = save_model(loaded["v2"], tmp_path / "x", form=form, precision="fp16", epoch=3, step=30)[0]
    file = path if path.is_file() else path / "unet" / "diffusion_pytorch_model.bin"
    mapped, read = (torch.load(file, weights_only=True, mmap=mmap) for mmap in (True, False))
    if form == "ckpt":
        assert {name: read[name] for name in ("epoch", "global_step")} == {"epoch": 3, "global_step": 30}
        mapped, read = mapped["state_dict"], read["state_dict"]
    assert all(torch.equal(tensor, mapped[name]) for name, tensor in read.items())
    assert all(entry.start % 64 == 0 for entry in read_checkpoint(file).content.tensors.values())
    assert len(read) == len(read_checkpoint(file))


def test_safetensors_reads_what_we_write(loaded: dict[str, Networks], tmp_path: Path) -> None:
    """The safetensors library accepts our files, finds data aligned, and reads the metadata; the hash is the data's."""
    path = save_model(
        loaded["v2"], tmp_path / "My model.v2", form="safetensors", precision="bf16", metadata={"ss_seed": "5"}, step=9
    )[0]
    assert path.name == "My model.v2.safetensors"
    assert_equal(load_file(path), tensors_of(path))
    with safe_open(path, "pt") as file:
        words = file.metadata()
    assert words["modelspec.architecture"] == "stable-diffusion-v2-768-v"
    assert words["modelspec.prediction_type"] == "v"
    assert words["modelspec.title"] == "My model.v2"
    assert (words["ss_seed"], words["atelier.step"], words["format"]) == ("5", "9", "pt")
    content = path.read_bytes()
    data = content[8 + int.from_bytes(content[:8], "little") :]
    assert words["modelspec.hash_sha256"] == f"0x{hashlib.sha256(data).hexdigest()}"
    assert all(entry.start % 2 == 0 for entry in read_checkpoint(path).content.tensors.values())


def test_lasting_metadata_passes_through(loaded: dict[str, Networks], tmp_path: Path) -> None:
    """The source's author and licence stay, its title and hash do not; what the caller says wins."""
    words = {"modelspec.author": "Jörg", "modelspec.license": "x", "modelspec.hash_sha256": "0x1", "ss_seed": "1"}
    one = save_model(loaded["v1"], tmp_path / "one", form="safetensors", precision="fp16", metadata=words)[0]
    given = {"modelspec.license": "y"}
    two = save_model(load(one), tmp_path / "two", form="safetensors", precision="fp16", metadata=given)[0]
    found = read_checkpoint(two).content.metadata
    assert (found["modelspec.author"], found["modelspec.license"], found["modelspec.title"]) == ("Jörg", "y", "two")
    assert len(found["modelspec.hash_sha256"]) == 66 and "ss_seed" not in found


def test_counts_are_added_to_the_source_s(loaded: dict[str, Networks], tmp_path: Path) -> None:
    """Epoch and step in a .ckpt go on from those of its source."""
    one = save_model(loaded["v1"], tmp_path / "one", form="ckpt", precision="fp16", epoch=2, step=20)[0]
    two = save_model(load(one), tmp_path / "two", form="ckpt", precision="fp16", epoch=3, step=300)[0]
    content = torch.load(two, weights_only=True)
    assert (content["epoch"], content["global_step"]) == (5, 320)


@pytest.mark.parametrize("form", ["safetensors", "diffusers_safetensors"])
def test_the_vae_is_the_source_s_own(
    form: SaveFormat, tiny: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """A VAE that the run has cast to bf16 and moved about is saved with the values it was loaded with."""
    networks = load(tiny["v1"])
    networks.vae.to(torch.bfloat16)
    saved = load(save_model(networks, tmp_path / "x", form=form, precision="float")[0])
    for name, tensor in loaded["v1"].vae.state_dict().items():
        assert torch.equal(saved.vae.state_dict()[name], tensor)


@pytest.mark.parametrize("form", FORMS)
def test_other_weights_can_be_saved(form: SaveFormat, loaded: dict[str, Networks], tmp_path: Path) -> None:
    """Averaged weights are written in place of the current ones, which stay as they are."""
    networks = loaded["v2"]
    weights = {
        part: {name: tensor + 1 for name, tensor in getattr(networks, part).state_dict().items()}
        for part in ("unet", "text_encoder")
    }
    saved = load(save_model(networks, tmp_path / "x", form=form, precision="float", weights=weights)[0])
    for part, state in weights.items():
        assert all(torch.equal(tensor, state[name]) for name, tensor in getattr(saved, part).state_dict().items())


def test_averages_are_written_where_asked(loaded: dict[str, Networks], tmp_path: Path) -> None:
    """`ema` adds 688 `model_ema.*` tensors, which are recognised again."""
    networks = loaded["v1"]
    path = save_model(
        networks, tmp_path / "x", form="safetensors", precision="fp16", ema=networks.unet.state_dict(), step=12
    )[0]
    tensors = tensors_of(path)
    unet = [name for name in tensors if name.startswith("model.diffusion_model.")]
    assert sum(name.startswith("model_ema.") for name in tensors) == len(unet) + 2
    assert tensors["model_ema.num_updates"] == 12 and tensors["model_ema.num_updates"].dtype == torch.int32
    facts = inspect_model(str(path))
    assert isinstance(facts, ModelFacts) and facts.has_ema


def test_what_belongs_to_no_network_passes_through(loaded: dict[str, Networks], tmp_path: Path) -> None:
    """Schedule vectors keep their bits and precision; the unused 2.x layer, projection and scale are the source's."""
    path = save_model(loaded["v2"], tmp_path / "one", form="ckpt", precision="float")[0]
    content = torch.load(path, weights_only=True)
    state = content["state_dict"]
    prefix = "cond_stage_model.model."
    extra = [n for n in state if n.startswith(f"{prefix}transformer.resblocks.3.")]
    extra += [f"{prefix}text_projection", f"{prefix}logit_scale"]
    assert len(extra) == 14 and all(state[name].is_floating_point() for name in extra)
    assert state[f"{prefix}logit_scale"].shape == ()
    for name in extra:
        state[name] = torch.rand_like(state[name]).half().float()
    for name in SCHEDULE_BUFFERS:
        state[name] = torch.rand(1000)
    state["model_ema.decay"] = torch.tensor(0.5)
    torch.save(content, path)
    saved = tensors_of(save_model(load(path), tmp_path / "two", form="safetensors", precision="fp16")[0])
    assert all(torch.equal(saved[name], state[name].half()) for name in extra)
    assert all(torch.equal(saved[name], state[name]) for name in SCHEDULE_BUFFERS)
    assert "model_ema.decay" not in saved


@pytest.mark.parametrize("form", ["safetensors", "ckpt"])
def test_a_2x_file_has_its_yaml(
    form: SaveFormat, tiny: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """Beside each 2.x single file stands the config that says what it predicts; 1.x needs none."""
    written = save_model(loaded["v2"], tmp_path / "v", form=form, precision="fp16")
    assert [path.name for path in written] == [f"v.{form}", "v.yaml"]
    assert settings_of(written[1])["model.params.parameterization"] == "v"
    facts = inspect_model(str(written[0]))
    assert isinstance(facts, ModelFacts) and facts.prediction == "v"
    assert len(save_model(loaded["v1"], tmp_path / "one", form=form, precision="fp16")) == 1
    learnt_v = load(tiny["v1"], v_parameterization=True)
    facts = inspect_model(str(save_model(learnt_v, tmp_path / "one v", form=form, precision="fp16")[0]))
    assert isinstance(facts, ModelFacts) and facts.prediction == "v"


@pytest.mark.parametrize("name", ["v2-inference", "v2-inference-v"])
def test_the_inference_configs_describe_the_published_networks(name: str) -> None:
    """The yaml files name the sizes that the configs in the package have, and differ in the prediction alone."""
    settings = settings_of(ROOT / "v2_inference" / f"{name}.yaml")
    assert settings["model.target"] == "ldm.models.diffusion.ddpm.LatentDiffusion"
    assert settings["model.base_learning_rate"] == 1e-4

    def under(path: str) -> dict[str, object]:
        start = f"model.params.{path}"
        return {name.removeprefix(start): value for name, value in settings.items() if name.startswith(start)}

    params = under("")
    assert params.get("parameterization", "eps") == ("v" if name.endswith("-v") else "eps")
    unet, ours = under("unet_config.params."), published("v2", "unet")
    channels = [unet["model_channels"] * factor for factor in unet["channel_mult"]]
    assert channels == ours["block_out_channels"]
    assert [count // unet["num_head_channels"] for count in channels] == ours["attention_head_dim"]
    assert unet["context_dim"] == ours["cross_attention_dim"] and unet["num_res_blocks"] == ours["layers_per_block"]
    assert unet["use_checkpoint"] and unet["use_linear_in_transformer"]
    vae = under("first_stage_config.params.ddconfig.")
    assert [vae["ch"] * factor for factor in vae["ch_mult"]] == published("v2", "vae")["block_out_channels"]
    scheduler = published("v2", "scheduler")
    assert (params["linear_start"], params["linear_end"]) == (scheduler["beta_start"], scheduler["beta_end"])
    assert params["scale_factor"] == published("v2", "vae")["scaling_factor"]
    assert under("cond_stage_config.") == {
        "target": "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder",
        "params.freeze": True,
        "params.layer": "penultimate",
    }


@pytest.mark.parametrize("precision", ["float", "fp16", "bf16"])
@pytest.mark.parametrize("form", ["diffusers", "diffusers_safetensors"])
@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_draws_with_our_folder(
    family: str, form: SaveFormat, precision: str, loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """`StableDiffusionPipeline.from_pretrained` takes the folder as it is and draws a picture, in any precision."""
    path = save_model(loaded[family], tmp_path / "out", form=form, precision=precision)[0]
    pipeline = StableDiffusionPipeline.from_pretrained(path)
    assert pipeline.tokenizer.pad_token_id == {"v1": 49407, "v2": 0}[family]
    assert pipeline.scheduler.config.prediction_type == {"v1": "epsilon", "v2": "v_prediction"}[family]
    pipeline.set_progress_bar_config(disable=True)
    picture = pipeline("a cat", num_inference_steps=2, width=64, height=64, output_type="np").images[0]
    assert picture.shape == (64, 64, 3) and picture.std() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_draws_the_same_from_file_and_folder(
    family: str, tiny: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """`from_single_file` offline gives the picture of the folder for a fixed seed, to 1e-4."""
    path = save_model(loaded[family], tmp_path / "x", form="safetensors", precision="float")[0]
    pictures = []
    for pipeline in (
        StableDiffusionPipeline.from_single_file(str(path), config=str(tiny[family]), safety_checker=None),
        StableDiffusionPipeline.from_pretrained(tiny[family]),
    ):
        pipeline.set_progress_bar_config(disable=True)
        seed = torch.Generator().manual_seed(3)
        drawn = pipeline("a cat", num_inference_steps=3, width=64, height=64, output_type="np", generator=seed)
        pictures.append(drawn.images)
    assert abs(pictures[0] - pictures[1]).max() < 1e-4


def test_text_encoders_are_written_for_older_readers(loaded: dict[str, Networks], tmp_path: Path) -> None:
    """Names have the `text_model.` that transformers 4 needs, and the tokenizer the files that its slow form reads."""
    path = save_model(loaded["v1"], tmp_path / "x", form="diffusers_safetensors", precision="fp16")[0]
    names = load_file(path / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in names)
    files = {file.name for file in (path / "tokenizer").iterdir()}
    assert files == {"vocab.json", "merges.txt", "special_tokens_map.json", "tokenizer_config.json"}


def test_a_folder_whose_swap_was_cut_short_comes_back(loaded: dict[str, Networks], tmp_path: Path) -> None:
    """A process killed between the two renames leaves the old folder aside; the next save puts it back first."""
    path = save_model(loaded["v1"], tmp_path / "x", form="diffusers", precision="fp16")[0]
    before = tensors_of(path)
    path.rename(tmp_path / ".x.old")
    (tmp_path / ".x.partial").mkdir()
    assert load(path).family == "v1", "it is found where it lies"
    facts = inspect_model(str(path))
    assert isinstance(facts, ModelFacts) and facts.name == "x"
    assert_equal(tensors_of(tmp_path / ".x.old"), before)
    save_model(loaded["v1"], tmp_path / "x", form="diffusers_safetensors", precision="fp16")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
@pytest.mark.parametrize("form", FORMS)
def test_files_get_the_user_s_permissions(form: SaveFormat, loaded: dict[str, Networks], tmp_path: Path) -> None:
    """Others may read what the umask lets them read."""
    before = os.umask(0o022)
    try:
        path = save_model(loaded["v1"], tmp_path / "x", form=form, precision="fp16")[0]
    finally:
        os.umask(before)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o644}


class DiskFull(OSError):
    """What a full disk raises, in the middle."""


@pytest.mark.parametrize("form", FORMS)
def test_a_failed_save_leaves_the_last_good_one(
    form: SaveFormat, loaded: dict[str, Networks], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up in mid-save: the old model is untouched, nothing half-written is left, a retry works."""
    first = save_model(loaded["v1"], tmp_path / "x", form=form, precision="fp16")[0]
    before = tensors_of(first)
    plain, turns = Outgoing.raw, iter(range(10_000))

    def raw(self: Outgoing) -> memoryview:
        if next(turns) == 400:
            raise DiskFull(28, "No space left on device")
        return plain(self)

    monkeypatch.setattr(writing.Outgoing, "raw", raw)
    with pytest.raises(DiskFull):
        save_model(loaded["v1"], tmp_path / "x", form=form, precision="float")
    assert_equal(tensors_of(first), before)
    assert [path.name for path in tmp_path.iterdir()] == [first.name]
    monkeypatch.undo()
    again = save_model(loaded["v1"], tmp_path / "x", form=form, precision="float")[0]
    assert {t.dtype for t in tensors_of(again).values()} <= {torch.float32, torch.int64}


def test_a_file_that_reads_back_wrong_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is read back before it gets its name."""
    tensors = {"a": Outgoing(torch.float32, (3,), lambda: torch.ones(3))}
    with pytest.raises(OSError, match="does not hold"), in_place(tmp_path / "x.safetensors", tensors) as temporary:
        write_safetensors(temporary, {"b": tensors["a"]}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("write", [write_safetensors, write_pickled])
def test_any_tensor_survives_writing(write: object, tmp_path: Path) -> None:
    """All dtypes, empty tensors, scalars and odd sizes come back bit for bit."""
    made = {
        f"{str(dtype).removeprefix('torch.')} {shape}": torch.randint(0, 2, shape).to(dtype)
        for dtype in writing.STORAGES
        for shape in ((), (0,), (3,), (5, 1, 7))
    }
    tensors = {name: Outgoing(t.dtype, tuple(t.shape), lambda t=t: t) for name, t in made.items()}
    path = tmp_path / ("x.safetensors" if write is write_safetensors else "x.ckpt")
    write(path, tensors, {})
    assert_equal(dict(read_checkpoint(path)), made)
    foreign = load_file(path) if write is write_safetensors else torch.load(path, weights_only=True)["state_dict"]
    assert_equal(foreign, made)


SAVING = """
import os, sys, time
from pathlib import Path
import torch
from tests.tiny_models import load
from trainer.model.save import save_model

networks, target, form = load(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]

def save_for_ever():
    weights = networks.unet.state_dict()
    for turn in range(1, 2000):
        given = {"unet": {name: torch.full_like(value, turn) for name, value in weights.items()}}
        save_model(networks, target, form=form, precision="fp16", weights=given)
        print(turn, flush=True)

def new_process():
    if not hasattr(os, "fork"):
        return save_for_ever()
    for _ in sys.stdin:
        if os.fork() == 0:
            print("pid", os.getpid(), flush=True)
            return save_for_ever()
        os.wait()
        print("ended", flush=True)

new_process()
"""


def lines_of_a_killed_process(process: subprocess.Popen[str], moment: float) -> list[str]:
    """What a process that saves for ever said, from its first save to `moment` seconds later, when it was killed."""
    assert process.stdin is not None and process.stdout is not None
    forks = hasattr(os, "fork")
    if forks:
        # Importing torch takes seconds: one process does it, and what is killed is a copy of it.
        process.stdin.write("go\n")
        process.stdin.flush()
        pid = int(process.stdout.readline().split()[1])
    said = [process.stdout.readline().strip()]
    time.sleep(moment)
    os.kill(pid, signal.SIGKILL) if forks else process.kill()
    for line in process.stdout:
        if line.strip() == "ended":
            break
        said.append(line.strip())
    return said


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("form", ["safetensors", "ckpt", "diffusers_safetensors"])
def test_a_killed_save_leaves_the_old_or_the_new_model(form: SaveFormat, tiny: dict[str, Path], tmp_path: Path) -> None:
    """20 kills at random moments of real saves: each time what is there loads, is of one turn, and of the latest."""
    target = tmp_path / "model"
    command = [sys.executable, "-c", SAVING, str(tiny["v1"]), str(target), form]
    moments, forks = random.Random(form), hasattr(os, "fork")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    process = None
    for _ in range(20):
        if process is None or not forks:
            process = subprocess.Popen(command, cwd=ROOT, **pipes)
        said = lines_of_a_killed_process(process, moments.uniform(0, 0.6))
        assert said[0] == "1"
        path = target if form == "diffusers_safetensors" else target.with_name(f"model.{form}")
        weights = load(path).unet.state_dict().values()
        turns = {float(value) for tensor in weights for value in tensor.unique()}
        assert len(turns) == 1, "old and new are mixed"
        assert turns.pop() >= int(said[-1])
    assert process is not None and process.stdin is not None
    process.stdin.close()
    process.wait(30)
