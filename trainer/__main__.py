"""`python -m trainer VERB ...`: train (the default, with all flags), check, plan, probe, inspect, convert, sample,
faces, demo, queue, sweep, runs, show, stop, pause, resume.

Exit code 0: done, or stopped as asked. 2: something to mend, all of it printed, nothing loaded. 1: anything else.
"""

import sys
from collections.abc import Callable, Sequence

from trainer.contract.cli import help_text
from trainer.model_verbs import convert, inspect
from trainer.probe_verb import probe, rehearse
from trainer.run_verbs import pause, queue, resume, runs, show, stop
from trainer.sample_verb import sample
from trainer.sweep_verb import sweep
from trainer.verbs import check, demo, faces, plan, train

VERBS: dict[str, tuple[Callable[[Sequence[str]], int], str]] = {
    "train": (train, "train with the flags below, --preset FILE or --job RUN/job.json; --run_dir names the run folder"),
    "check": (check, "look at options, folders and model, and say all that is to mend; --deep decodes every image"),
    "plan": (plan, "say images, buckets, steps and saves of a run with these flags"),
    "probe": (
        probe,
        "measure memory and time by real steps that leave nothing behind, and find what lets it fit: a run, a job.json "
        "or flags; --within GB as if no more were free; --every_way measures every way",
    ),
    "inspect": (inspect, "say what a model file or folder is"),
    "convert": (
        convert,
        "write a model as OUT: IN OUT, where OUT ends in .safetensors or .ckpt, or is a folder; "
        "--save_precision, --vae, --use-ema-weights, --overwrite",
    ),
    "sample": (
        sample,
        "draw with CHECKPOINT, a model or a run: --prompt TEXT --negative --seed --steps --sampler --guidance --width "
        "--height --number --out FILE; while a run trains, --wait or --cpu",
    ),
    "faces": (faces, "find the faces in a folder of images, for face_crop_aug_range; --again looks at all anew"),
    "demo": (demo, "train the demo to the end; --make only makes its model and pictures"),
    "queue": (
        queue,
        "let a job wait for its turn, with the flags of train; without flags: what waits; "
        "earlier RUN, later RUN, out RUN, go_on",
    ),
    "sweep": (
        sweep,
        "let a job wait with several values of one or two options, each combination a run: OPTION=VALUE,VALUE ..., "
        "with the flags of train; without flags: the sweeps there are",
    ),
    "runs": (runs, "list the runs and their states"),
    "show": (show, "say how one run stands, by its name or folder"),
    "stop": (stop, "finish the step, save and end a run; --without-saving ends it without"),
    "pause": (pause, "finish the step, keep a state and leave the card"),
    "resume": (
        resume,
        "go on with a paused run, or in a new run from the newest state of another one",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Find the verb and do it. Flags without a verb mean train, as the ancestor's command lines do."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if words else 2
    if words[0].startswith("-"):
        return train(words)
    if words[0] == "rehearse":
        return rehearse(words[1:])
    verb = VERBS.get(words[0])
    if verb is None:
        print(f"There is no verb {words[0]}. There are: {', '.join(VERBS)}.", file=sys.stderr)
        return 2
    return verb[0](words[1:])


def _usage() -> str:
    lines = ["python -m trainer VERB [--flag value ...]", ""]
    lines += [f"  {name:<8} {about}" for name, (_, about) in VERBS.items()]
    return "\n".join([*lines, "", "Every verb takes --json where a program may read it.", help_text()])


if __name__ == "__main__":
    sys.exit(main())
