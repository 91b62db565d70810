"""Rules about what a run writes: models, their average and states, where and how often."""

from trainer.contract.rule import Rule

SAVE_RULES: tuple[Rule, ...] = (
    Rule(
        code="ema_options_without_ema",
        fields=("ema_decay", "ema_device", "use_ema"),
        broken=lambda c: not c.networks.use_ema and (c.networks.ema_decay, c.networks.ema_device) != (0.9999, "cpu"),
        message="Options of the average are given, but nothing is averaged: they have no effect.",
        mends=(
            ("Average the weights", {"use_ema": True}),
            ("Leave them as they were", {"ema_decay": 0.9999, "ema_device": "cpu"}),
        ),
        severity="warning",
    ),
    Rule(
        code="ema_keys_without_ema",
        fields=("save_ema_keys", "use_ema"),
        broken=lambda c: c.saves.save_ema_keys and not c.networks.use_ema,
        message="EMA keys are to be written, but nothing is averaged. Average the weights, or leave the keys out.",
        mends=(("Average the weights", {"use_ema": True}), ("Leave them out", {"save_ema_keys": False})),
    ),
    Rule(
        code="ema_keys_in_a_folder",
        fields=("save_ema_keys", "save_model_as"),
        broken=lambda c: c.saves.save_ema_keys and c.saves.save_model_as in ("diffusers", "diffusers_safetensors"),
        message="EMA keys are to be written, but a Diffusers folder has no place for them. Choose a single file.",
        mends=(
            ("One .safetensors file", {"save_model_as": "safetensors"}),
            ("Leave them out", {"save_ema_keys": False}),
        ),
    ),
    Rule(
        code="raw_without_ema",
        fields=("save_raw", "use_ema"),
        broken=lambda c: c.saves.save_raw and not c.networks.use_ema,
        message="Raw weights are to be written as well, but nothing is averaged: every model holds the raw ones.",
        mends=(("Average the weights", {"use_ema": True}), ("Leave it off", {"save_raw": False})),
        severity="warning",
    ),
    Rule(
        code="keep_epochs_without_saves",
        fields=("save_last_n_epochs", "save_every_n_epochs"),
        broken=lambda c: c.saves.save_last_n_epochs is not None and c.saves.save_every_n_epochs is None,
        message="Only the newest epoch saves are to be kept, but none are written: it has no effect.",
        mends=(("Save every epoch", {"save_every_n_epochs": 1}), ("Keep all", {"save_last_n_epochs": None})),
        severity="warning",
    ),
    Rule(
        code="keep_steps_without_saves",
        fields=("save_last_n_steps", "save_every_n_steps"),
        broken=lambda c: c.saves.save_last_n_steps is not None and c.saves.save_every_n_steps is None,
        message="Step saves are to be deleted when they are old, but none are written: it has no effect.",
        mends=(("Keep all", {"save_last_n_steps": None}),),
        severity="warning",
    ),
    Rule(
        code="two_formats",
        fields=("use_safetensors", "save_model_as"),
        broken=lambda c: c.saves.use_safetensors and c.saves.save_model_as in ("ckpt", "diffusers"),
        message="The chosen format is not a .safetensors one, though .safetensors is asked for. Choose one.",
        mends=(("The format", {"use_safetensors": False}), ("One .safetensors file", {"save_model_as": "safetensors"})),
    ),
)
