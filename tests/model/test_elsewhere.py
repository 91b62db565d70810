"""What we write, opened by the programs of others: diffusers' reader of single files, and transformers 4."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from diffusers import DDIMScheduler, StableDiffusionPipeline

from tests.tiny_models import load
from trainer.contract.prompts import Prompt
from trainer.model.load import Networks
from trainer.model.save import save_model
from trainer.training.engine import Engine
from trainer.training.painter import Drawing, Painter

TRANSFORMERS_4 = "4.57.6"


@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("form", ["safetensors", "ckpt"])
def test_from_single_file_draws_our_picture(
    family: str, form: str, tiny: dict[str, Path], loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """diffusers' `from_single_file`, offline, draws from our file what our own pipeline draws from it, to 1e-4."""
    path = save_model(loaded[family], tmp_path / "x", form=form, precision="fp16")[0]
    pipeline = StableDiffusionPipeline.from_single_file(
        str(path), config=str(tiny[family]), safety_checker=None, torch_dtype=torch.float32
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    prompt = Prompt("a harbour at dawn", "blurry", 64, 64, 11, 5, 7.5)
    theirs = pipeline(
        prompt.text,
        negative_prompt=prompt.negative,
        width=64,
        height=64,
        num_inference_steps=5,
        guidance_scale=7.5,
        generator=torch.Generator().manual_seed(11),
        output_type="np",
    ).images[0]
    AcceleratorState._reset_state(reset_partial_state=True)
    networks = load(path)
    # Tiny models are not at home at the sizes that shapes foretell; real ones are.
    assert networks.prediction == {"v1": "epsilon", "v2": "v"}[family]
    painter = Painter(networks, Drawing((64, 64), 0, None, networks.prediction), Engine("no"))
    networks.vae.float()
    ours = painter.levels(prompt, 11).numpy() / 255
    AcceleratorState._reset_state(reset_partial_state=True)
    assert theirs.std() > 0.01, "there is something in the picture"
    assert np.abs(ours - theirs).max() <= 1e-4


READS = """
import json, sys
import torch, transformers
from transformers import CLIPTextModel, CLIPTokenizer, CLIPTokenizerFast
folder = sys.argv[1]
model, told = CLIPTextModel.from_pretrained(folder + "/text_encoder", output_loading_info=True)
rows = {}
for kind in (CLIPTokenizer, CLIPTokenizerFast):
    tokenizer = kind.from_pretrained(folder + "/tokenizer")
    rows[kind.__name__] = tokenizer("a photo of a cat", padding="max_length", max_length=77).input_ids
states = model(torch.tensor([rows["CLIPTokenizer"]])).last_hidden_state
print(json.dumps({
    "version": transformers.__version__,
    "missing": sorted(told["missing_keys"]),
    "mismatched": [str(key) for key in told["mismatched_keys"]],
    "unexpected": sorted(told["unexpected_keys"]),
    "rows": rows,
    "states": states.flatten().tolist(),
}))
"""


@pytest.fixture(scope="module")
def python_with_transformers_4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment of its own with transformers 4, in which torch and the rest are this one's."""
    place = tmp_path_factory.mktemp("transformers 4") / "venv"
    venv.create(place, with_pip=False, symlinks=os.name == "posix")
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    own = "import sysconfig; print(sysconfig.get_path('purelib'))"
    packages = Path(subprocess.run([python, "-c", own], capture_output=True, text=True, check=True).stdout.strip())
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", packages]
    # torch is no requirement of transformers, so nothing of CUDA comes with it.
    done = subprocess.run([*install, f"transformers=={TRANSFORMERS_4}"], capture_output=True, text=True, timeout=240)
    if done.returncode != 0:
        pytest.skip(f"pip cannot install transformers {TRANSFORMERS_4}: {done.stderr.strip()[-300:]}")
    # Read after the environment's own packages, which therefore win.
    shared = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (packages / "torch-from-outside.pth").write_text("\n".join(shared) + "\n", encoding="utf-8")
    return python


@pytest.mark.slow
@pytest.mark.parametrize("family", ["v1", "v2"])
@pytest.mark.parametrize("form", ["diffusers", "diffusers_safetensors"])
def test_transformers_4_loads_our_folder(
    family: str, form: str, python_with_transformers_4: Path, loaded: dict[str, Networks], tmp_path: Path
) -> None:
    """No key is missing, both of its tokenizers read our files, and the text encoder computes what it does here."""
    networks = loaded[family]
    folder = save_model(networks, tmp_path / "x", form=form, precision="fp16")[0]
    command = [python_with_transformers_4, "-c", READS, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["version"] == TRANSFORMERS_4
    assert told["missing"] == told["mismatched"] == told["unexpected"] == []
    ids = networks.tokenizer.encode(["a photo of a cat"])
    assert told["rows"] == {"CLIPTokenizer": ids[0], "CLIPTokenizerFast": ids[0]}
    with torch.no_grad():
        ours = load(folder).text_encoder(torch.tensor(ids)).last_hidden_state
    assert torch.allclose(torch.tensor(told["states"]), ours.flatten(), atol=1e-5)
