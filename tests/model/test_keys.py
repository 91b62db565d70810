"""The names of weights in single files, held against the recorded lists of real 1.x and 2.x files."""

from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.tiny_models import load
from tests.training.recorded import digest
from trainer.contract.saves import SaveFormat
from trainer.model.architecture import published, text_config, unet_config, vae_config
from trainer.model.checkpoint import NAMES, read_checkpoint
from trainer.model.facts import text_size
from trainer.model.keys import ema_names, unet_names
from trainer.model.load import Networks
from trainer.model.modules import empty_text_encoder, empty_unet, empty_vae
from trainer.model.save import save_model
from trainer.model.single_file import average_tensors, single_file_tensors
from trainer.model.stored import StoredTensor

FIXTURES = Path(__file__).parents[1] / "fixtures" / "model"
FAMILIES = ("v1", "v2")
POSITION_IDS = "cond_stage_model.transformer.text_model.embeddings.position_ids"


def recorded(family: str) -> dict[str, tuple[int, ...]]:
    """Name -> shape of every weight in a real file."""
    rows = (line.split(" ") for line in (FIXTURES / f"keys-{family}.txt").read_text(encoding="utf-8").splitlines())
    return {name: () if shape == "-" else tuple(map(int, shape.split("x"))) for name, shape in rows}


def real_size(family: str) -> dict[str, torch.nn.Module]:
    """Networks of the published sizes, without memory for weights."""
    return {
        "unet": empty_unet(published(family, "unet")),
        "text_encoder": empty_text_encoder(published(family, "text_encoder")),
        "vae": empty_vae(published(family, "vae")),
    }


@pytest.fixture(scope="module", params=FAMILIES)
def real(request: pytest.FixtureRequest) -> tuple[str, dict[str, dict[str, torch.Tensor]]]:
    """Family and states of real-size networks."""
    return request.param, {name: module.state_dict() for name, module in real_size(request.param).items()}


def test_real_sizes_have_the_recorded_names_and_shapes(real: tuple[str, dict[str, dict[str, torch.Tensor]]]) -> None:
    """What we would write for a real model has exactly the recorded names and shapes."""
    family, states = real
    networks = SimpleNamespace(family=family, extras={})
    tensors = single_file_tensors(networks, states, torch.float16)
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == recorded(family)
    others = {name for name, tensor in tensors.items() if tensor.dtype != torch.float16}
    assert others == ({POSITION_IDS} if family == "v1" else set())
    assert {NAMES[tensors[name].dtype] for name in others} <= {"I64"}


@pytest.mark.parametrize("form", ["safetensors", "ckpt"])
def test_every_name_has_the_recorded_value(form: SaveFormat, tmp_path: Path) -> None:
    """Digests of all 996 weights of a tiny 1.x model in a single file, as another program's converter wrote them."""
    tiny = FIXTURES.parent / "training" / "models" / "tiny-sd1"
    path = save_model(load(tiny), tmp_path / "x", form=form, precision="float")[0]
    rows = (FIXTURES / "values-tiny-sd1.txt").read_text(encoding="utf-8").splitlines()
    with closing(read_checkpoint(path)) as written:
        assert set(written) - {row.split(" ")[0] for row in rows} == {POSITION_IDS}
        for row in rows:
            name, shape, *figures = row.split(" ")
            assert "x".join(map(str, written[name].shape)) == shape
            total, length, wave = map(float, figures)
            # The file has nine digits of each.
            assert digest(written[name]) == pytest.approx([total, length, wave], abs=1e-7 * (1 + length)), name


def test_parameter_counts_are_the_published_ones(real: tuple[str, dict[str, dict[str, torch.Tensor]]]) -> None:
    """The configs in the package build networks with the known numbers of parameters."""
    family, states = real
    counts = {name: sum(tensor.numel() for tensor in state.values()) for name, state in states.items()}
    text = {"v1": 123_060_480, "v2": 340_387_840}[family]
    assert counts == {
        "unet": {"v1": 859_520_964, "v2": 865_910_724}[family],
        "text_encoder": text,
        "vae": 83_653_863,
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_shapes_of_a_real_file_give_the_published_configs(family: str) -> None:
    """From nothing but the names and shapes of a real file come exactly the published configs."""
    shapes = recorded(family)
    stored = {name: StoredTensor("F16", shape, Path("x"), 0) for name, shape in shapes.items()}
    width, layers = text_size(stored, family)
    facts = SimpleNamespace(family=family, home_size=512, text_width=width, text_layers=layers)
    assert unet_config(shapes, facts, {}) == published(family, "unet")
    assert vae_config(shapes, family, {}) == published(family, "vae")
    assert text_config(shapes, facts, {}) == published(family, "text_encoder")


def test_averages_are_named_as_the_original_training_code_names_them(
    real: tuple[str, dict[str, dict[str, torch.Tensor]]],
) -> None:
    """688 names: one for each U-Net weight, its dots taken out, and the two counters; none collide."""
    family, states = real
    names = average_tensors(states["unet"], torch.float32, family, 7)
    assert len(names) == 688
    assert "model_ema.diffusion_modelinput_blocks00weight" in names
    assert {"model_ema.decay", "model_ema.num_updates"} < set(names)


def test_averages_are_found_under_all_known_names() -> None:
    """The three namings of averages that files in the wild have."""
    assert ema_names("model.diffusion_model.input_blocks.0.0.weight") == (
        "model_ema.diffusion_modelinput_blocks00weight",
        "model_ema.diffusion_model.input_blocks.0.0.weight",
        "model_ema.input_blocks.0.0.weight",
    )


def test_names_follow_the_number_of_blocks(loaded: dict[str, Networks]) -> None:
    """With one block a level the rows are counted in twos, and no two weights share a name."""
    state = loaded["v1"].unet.state_dict()
    names = unet_names(state)
    assert len(set(names.values())) == len(state)
    assert names["down_blocks.1.resnets.0.conv1.weight"] == "model.diffusion_model.input_blocks.3.0.in_layers.2.weight"
    assert names["down_blocks.0.downsamplers.0.conv.weight"] == "model.diffusion_model.input_blocks.2.0.op.weight"
    assert names["up_blocks.0.upsamplers.0.conv.bias"] == "model.diffusion_model.output_blocks.1.1.conv.bias"
    assert names["up_blocks.1.upsamplers.0.conv.bias"] == "model.diffusion_model.output_blocks.3.2.conv.bias"
