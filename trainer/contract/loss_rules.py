"""Rules between the options of noise and loss. Part of `RULES`."""

from trainer.contract.rule import Rule

LOSS_RULES: tuple[Rule, ...] = (
    Rule(
        code="zero_snr_without_v",
        fields=("zero_terminal_snr", "v_parameterization"),
        broken=lambda c: c.loss.zero_terminal_snr and not c.model.v_parameterization,
        message="Zero terminal SNR needs a model that predicts v: in noise alone there is no noise left to find.",
        mends=(
            ("Turn it off", {"zero_terminal_snr": False}),
            ("The model predicts v", {"v_parameterization": True}),
        ),
    ),
    Rule(
        code="v_scale_without_v",
        fields=("scale_v_pred_loss_like_noise_pred", "v_parameterization"),
        broken=lambda c: c.loss.scale_v_pred_loss_like_noise_pred and not c.model.v_parameterization,
        message="Only the loss of a model that predicts v can be weighed like that of one that predicts the noise.",
        mends=(
            ("Turn it off", {"scale_v_pred_loss_like_noise_pred": False}),
            ("The model predicts v", {"v_parameterization": True}),
        ),
    ),
    Rule(
        code="two_timestep_weights",
        fields=("min_snr_gamma", "debiased_estimation_loss"),
        broken=lambda c: c.loss.min_snr_gamma > 0 and c.loss.debiased_estimation_loss,
        message="Min-SNR and debiased estimation both weigh the timesteps; together they all but leave out many.",
        mends=(("Only Min-SNR", {"debiased_estimation_loss": False}), ("Only debiased", {"min_snr_gamma": 0})),
        severity="warning",
    ),
    Rule(
        code="noise_offset_missing",
        fields=("adaptive_noise_scale", "noise_offset_random_strength", "noise_offset"),
        broken=lambda c: (
            c.loss.noise_offset == 0 and (c.loss.adaptive_noise_scale != 0 or c.loss.noise_offset_random_strength)
        ),
        message="Options of the noise offset are given, but no noise offset: they have no effect.",
        mends=(
            ("Leave them out", {"adaptive_noise_scale": 0, "noise_offset_random_strength": False}),
            ("An offset of 0.05", {"noise_offset": 0.05}),
        ),
        severity="warning",
    ),
    Rule(
        code="discount_without_levels",
        fields=("multires_noise_discount", "multires_noise_iterations"),
        broken=lambda c: c.loss.multires_noise_discount != 0.3 and c.loss.multires_noise_iterations == 0,
        message="A discount of multi-resolution noise is given, but no levels of it: it has no effect.",
        mends=(("6 levels", {"multires_noise_iterations": 6}), ("Leave it at 0.3", {"multires_noise_discount": 0.3})),
        severity="warning",
    ),
    Rule(
        code="perturbation_missing",
        fields=("ip_noise_gamma_random_strength", "ip_noise_gamma"),
        broken=lambda c: c.loss.ip_noise_gamma_random_strength and c.loss.ip_noise_gamma == 0,
        message="The input perturbation is to be random, but there is none: it has no effect.",
        mends=(
            ("A perturbation of 0.1", {"ip_noise_gamma": 0.1}),
            ("Leave it out", {"ip_noise_gamma_random_strength": False}),
        ),
        severity="warning",
    ),
    Rule(
        code="one_timestep",
        fields=("min_timestep", "max_timestep"),
        broken=lambda c: c.loss.min_timestep >= c.loss.max_timestep,
        message="The lowest timestep is not below the highest: only the one at the upper end would be learnt.",
        mends=(("All timesteps", {"min_timestep": 0, "max_timestep": 1000}),),
        severity="warning",
    ),
    Rule(
        code="huber_without_huber",
        fields=("huber_schedule", "huber_c", "huber_scale", "loss_type"),
        broken=lambda c: (
            not c.loss.has_threshold
            and (c.loss.huber_schedule, c.loss.huber_c, c.loss.huber_scale) != ("snr", 0.1, 1.0)
        ),
        message="Options of the Huber loss are given, but the loss is another one: they have no effect.",
        mends=(
            ("Huber", {"loss_type": "huber"}),
            ("Leave them out", {"huber_schedule": "snr", "huber_c": 0.1, "huber_scale": 1.0}),
        ),
        severity="warning",
    ),
    Rule(
        code="huber_scale_by_noise",
        fields=("huber_scale", "huber_schedule"),
        broken=lambda c: c.loss.has_threshold and c.loss.huber_schedule == "snr" and c.loss.huber_scale != 1.0,
        message="The Huber schedule by noise has no scale: the one given has no effect.",
        mends=(("Leave it at 1", {"huber_scale": 1.0}), ("Constant", {"huber_schedule": "constant"})),
        severity="warning",
    ),
    Rule(
        code="masks_missing",
        fields=("masked_loss", "conditioning_data_dir", "alpha_mask"),
        broken=lambda c: c.loss.masked_loss and c.loss.mask_source is None,
        message="Images are to be learnt by masks, but there is no folder of them. Choose it, or use transparency.",
        mends=(("Use transparency", {"alpha_mask": True}), ("Without masks", {"masked_loss": False})),
    ),
    Rule(
        code="masks_unused",
        fields=("conditioning_data_dir", "masked_loss"),
        broken=lambda c: c.loss.conditioning_data_dir is not None and not c.loss.masked_loss,
        message="A folder of masks is chosen, but images are not learnt by masks: it has no effect.",
        mends=(("Learn by masks", {"masked_loss": True}), ("Leave the folder out", {"conditioning_data_dir": None})),
        severity="warning",
    ),
    Rule(
        code="two_masks",
        fields=("alpha_mask", "conditioning_data_dir"),
        broken=lambda c: c.loss.alpha_mask and c.loss.mask_source == "folder",
        message="Masks are taken from the folder, so transparency has no effect.",
        mends=(
            ("Only the folder", {"alpha_mask": False}),
            ("Only transparency", {"conditioning_data_dir": None, "masked_loss": False}),
        ),
        severity="warning",
    ),
)
