"""Settings files of kohya's sd-scripts (`--config_file`), which kohya_ss writes at every start: flags in TOML."""

from collections.abc import Mapping
from typing import Any

from trainer.contract.config import OPTIONS
from trainer.contract.foreign.kohya import LEFT, SILENT, refuse_others
from trainer.contract.foreign.optimizer import lay_optimizer
from trainer.contract.foreign.reading import Reading

PROGRAM = "sd-scripts"


def read(record: Mapping[str, Any]) -> Reading:
    """Read a settings file; its sections have no meaning. Raises RefusedError for one of another kind of training."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        flat |= value if isinstance(value, Mapping) else {key: value}
    refuse_others(flat, PROGRAM)
    found = Reading(flat)
    arguments = found.pop("optimizer_args")
    arguments = " ".join(map(str, arguments)) if isinstance(arguments, list) else arguments
    name = found.pop("optimizer_type")
    if name is not None:
        lay_optimizer(found, "optimizer_type", str(name), arguments)
    if found.peek("max_train_epochs"):
        found.skip("max_train_steps")
    for key in flat:
        if key in OPTIONS:
            found.take(key)
    for key, said in LEFT.items():
        found.leave(key, found.pop(key), said)
    found.skip(*SILENT)
    found.finish()
    return found
