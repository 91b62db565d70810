"""Which options cannot change when a run goes on from a state: the trainer refuses it, the page offers it anew only."""

FIXED = (
    "v2",
    "v_parameterization",
    "fine_tuning",
    "resolution",
    "enable_bucket",
    "min_bucket_reso",
    "max_bucket_reso",
    "train_batch_size",
    "unetonly",
    "encoderonly",
    "clip_skip",
    "validation_split",
)
"""Options that a run cannot change under way: its data, its model, or what its steps mean would be others."""

ANEW = {*FIXED, "gradient_accumulation_steps", "optimizer_type", "use_8bit_adam", "optimizer_args", "skip_bad_images"}
"""Besides those, options that change what else a state holds: batches in a step, the optimizer, the list of images."""
