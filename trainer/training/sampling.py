"""Sample pictures while training: the prompts of the job, drawn with the weights as they are now.

The same prompt has the same seed at every step, so that pictures of different steps can be compared; the random
numbers of training are not touched. PNG files in RUN/samples and `Sampled` events go out.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from PIL import Image

from trainer.contract.events import Phase, Sampled
from trainer.contract.prompts import Prompt, parameters
from trainer.dataset.png import write_png
from trainer.model.load import Networks
from trainer.training.ema import AsUsed
from trainer.training.engine import Engine
from trainer.training.latents import in_fp32
from trainer.training.ledger import Writer
from trainer.training.painter import Drawing, Painter


class Sampler:
    """Draws the prompts of one run."""

    def __init__(
        self, networks: Networks, as_used: AsUsed, prompts: Sequence[Prompt], drawing: Drawing, engine: Engine
    ) -> None:
        self._networks = networks
        self._as_used = as_used
        self._prompts = list(prompts)
        self._drawing = drawing
        self._engine = engine
        self._painter = Painter(networks, drawing, engine)
        self._drawn_at: int | None = None

    def draw(self, step: int, run: Path, events: Writer) -> None:
        """Draw every prompt once, in the main process; the others wait. Without prompts nothing happens."""
        if not self._prompts or self._drawn_at == step:
            return
        self._drawn_at = step
        events.write(Phase(name="sampling", done=0, total=len(self._prompts), unit="pictures"))
        if self._engine.main:
            (run / "samples").mkdir(exist_ok=True)
            with self._as_shown():
                for index, prompt in enumerate(self._prompts, start=1):
                    seed = self._seed(index, prompt)
                    name = f"step-{step:08d}-{index}.png"
                    said = parameters(prompt, seed, self._painter.size(prompt))
                    words = {"parameters": said, "training_step": str(step)}
                    picture = Image.fromarray(self._painter.picture(prompt, seed))
                    write_png(run / "samples" / name, picture, words)
                    told = Sampled(step=step, index=index, prompt=prompt.text, seed=seed, path=f"samples/{name}")
                    events.write(told)
                    events.write(Phase(name="sampling", done=index, total=len(self._prompts), unit="pictures"))
        self._engine.wait()

    @contextmanager
    def _as_shown(self) -> Iterator[None]:
        """Inside, networks are as they would be saved and used: averaged weights, eval mode, VAE on the device."""
        nets = self._networks
        trained = {network: network.training for network in (nets.unet, nets.text_encoder)}
        vae_home = nets.vae.device
        in_fp32(nets.vae, self._engine.device)
        for network in trained:
            network.eval()
        try:
            with self._as_used():
                yield
        finally:
            for network, mode in trained.items():
                network.train(mode)
            nets.vae.to(vae_home)

    def _seed(self, index: int, prompt: Prompt) -> int:
        return prompt.seed if prompt.seed is not None else (self._drawing.seed + index) % 2**32
