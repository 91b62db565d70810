"""Keys of OneTrainer that need no reading: its defaults, what is left with a reason, and what says nothing here."""

from typing import Any

DEFAULTS: dict[str, Any] = {
    "learning_rate": 3e-6,
    "learning_rate_scheduler": "CONSTANT",
    "learning_rate_warmup_steps": 200.0,
    "epochs": 100,
    "batch_size": 1,
    "resolution": "512",
    "train_dtype": "FLOAT_16",
    "attention_mechanism": "SDP",
    "output_dtype": "FLOAT_32",
    "output_model_format": "SAFETENSORS",
    "aspect_ratio_bucketing": True,
    "image_caching": True,
    "ema_decay": 0.999,
    "ema_update_step_interval": 5,
    "mse_strength": 1.0,
    "loss_weight_strength": 5.0,
    "clip_grad_norm": 1.0,
    "backup_after": 30,
    "backup_after_unit": "MINUTE",
}
"""What its presets do not say, where it means something here."""

LEFT = {
    "validation": "Choose here which share of the images is held out.",
    "masked_training": "Masks lie in a folder of their own here: choose it, and switch “Learn by masks” on.",
    "log_cosh_strength": "This loss is not here.",
    "generalized_offset_noise": "The plain noise offset is used.",
    "force_epsilon_prediction": "What a model predicts is a property of the model here.",
    "multi_gpu": "One run trains on one card here.",
    "custom_learning_rate_scheduler": "Schedules of other packages are not here.",
    "layer_filter": "Networks are trained as a whole here.",
    "noising_weight": "Timesteps are drawn evenly here.",
    "noising_bias": "Timesteps are drawn evenly here.",
    "force_circular_padding": "Seamless tiles are not here.",
}
SILENT = (
    *(
        "__version",
        "debug_mode",
        "debug_dir",
        "workspace_dir",
        "cache_dir",
        "only_cache",
        "train_device",
        "temp_device",
    ),
    *("continue_last_backup", "include_train_config", "concept_file_name", "sample_definition_file_name", "secrets"),
    *("clear_cache_before_training", "text_caching", "caching_threads", "dataloader_threads", "prefetch_next_batch"),
    *("enable_autocast_cache", "fallback_train_dtype", "non_ema_sampling", "sample_skip_first", "save_skip_first"),
    *("backup_before_save", "save_filename_prefix", "prevent_overwrites", "compile", "async_offloading", "cloud"),
    *("text_encoder_sequence_length", "optimizer_defaults", "quantization", "scheduler_params", "huber_delta"),
    *("vb_loss_strength", "unmasked_probability", "unmasked_weight", "normalize_masked_area_loss", "frames"),
    *("masked_prior_preservation_weight", "custom_conditioning_image", "layer_filter_preset", "layer_filter_regex"),
    *("device_indexes", "fused_gradient_reduce", "async_gradient_reduce", "async_gradient_reduce_buffer"),
    *("gradient_reduce_precision", "timestep_shift", "dynamic_timestep_shifting", "cep_gamma", "embedding"),
    *("additional_embeddings", "embedding_learning_rate", "preserve_embedding_norm", "embedding_weight_dtype"),
    *("peft_type", "bundle_additional_embeddings", "samples_to_tensorboard", "validate_after", "validate_after_unit"),
    *("loss_scaler", "weight_dtype"),
)
SILENT_BEGINNINGS = (
    *("tensorboard", "lora_", "oft_", "lokr_", "dora_", "text_encoder_2", "text_encoder_3", "text_encoder_4", "prior"),
    *("transformer", "unconditional_transformer", "effnet_encoder", "decoder", "sample_image", "sample_video"),
    *("sample_audio", "rolling_backup"),
)
"""Of its window, of other models, and of other ways of training."""
