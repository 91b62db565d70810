"""Why a model cannot be trained: `UnusableModel`, with the one problem to show, and the sentences of such problems.

A path and what is wrong with it go in; the exception to raise comes out. No torch.
"""

from pathlib import Path

from trainer.contract.problems import Problem
from trainer.model.stored import UnreadableFile
from trainer.model.tensors import TensorFile, read_tensor_file

FIELD = "pretrained_model_name_or_path"
GET_ANOTHER = "Copy or download it again, or choose another one."


class UnusableModel(Exception):
    """A model that cannot be trained, with the problem to show."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def stands(path: Path) -> bool:
    """Whether there is something at a path that a user typed; a name that no disk can hold is not there."""
    try:
        return path.exists()
    except OSError:
        return False


def read_or_refuse(path: Path, field_name: str = FIELD) -> TensorFile:
    """The table of contents of a file; raises `UnusableModel` where it cannot be read or is hostile."""
    try:
        content = read_tensor_file(path)
    except UnreadableFile as trouble:
        raise unreadable(path, trouble, field_name) from None
    except OSError as trouble:
        raise unopened(path, trouble, field_name) from None
    refuse_hostile(path, content.reaching, field_name)
    return content


def unreadable(path: Path, trouble: UnreadableFile, field_name: str = FIELD) -> UnusableModel:
    """The refusal of a damaged, cut short or hostile file."""
    if trouble.reaching:
        return _hostile(path, trouble.reaching, field_name)
    return refused(
        "disk.model_unreadable",
        f"{path.name} cannot be read: {trouble}. {GET_ANOTHER}",
        field_name,
    )


def refused(code: str, message: str, field_name: str = FIELD) -> UnusableModel:
    """A refusal with its problem."""
    return UnusableModel(Problem(code, message, (field_name,)))


def unopened(path: Path, trouble: OSError, field_name: str = FIELD) -> UnusableModel:
    """The refusal of what the system does not let us read."""
    reason = trouble.strerror or type(trouble).__name__
    return refused("disk.model_unreadable", f"{path} cannot be opened: {reason}.", field_name)


def other_kind(path: Path, words: str) -> UnusableModel:
    """The refusal of something that is no whole model of the two families; `words` say what it is."""
    return refused(
        "disk.model_kind",
        f"{path.name} is {words}. Atelier trains whole Stable Diffusion 1.x and 2.x models: choose one of those.",
    )


def refuse_hostile(path: Path, reaching: tuple[str, ...], field_name: str = FIELD) -> None:
    """Raise the refusal of a pickle that names what reaches outside the file."""
    if reaching:
        raise _hostile(path, reaching, field_name)


def _hostile(path: Path, reaching: tuple[str, ...], field_name: str) -> UnusableModel:
    return refused(
        "disk.model_hostile",
        f"{path.name} holds more than weights: it asks to run {', '.join(reaching[:3])}. Nothing of it was run. "
        "Do not use this file; get the model again, as .safetensors, from a source you trust.",
        field_name,
    )
