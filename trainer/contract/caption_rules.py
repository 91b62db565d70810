"""Rules about captions: what of them is read, shuffled and left out. Part of `RULES`."""

from trainer.contract.rule import Rule

CAPTION_RULES: tuple[Rule, ...] = (
    Rule(
        code="keep_without_shuffle",
        fields=("keep_tokens", "shuffle_caption"),
        broken=lambda c: (
            c.captions.keep_tokens > 0 and not c.captions.shuffle_caption and not c.captions.caption_tag_dropout_rate
        ),
        message="Tags are to keep their place, but tags are neither shuffled nor left out: all of them do.",
        mends=(("Shuffle tags", {"shuffle_caption": True}), ("Keep none apart", {"keep_tokens": 0})),
        severity="warning",
    ),
    Rule(
        code="windows_without_padding",
        fields=("max_token_length", "no_token_padding"),
        broken=lambda c: c.captions.token_limit > 75 and c.captions.no_token_padding,
        message="Captions of more than 75 tokens are read in whole windows, which are always padded.",
        mends=(("Pad captions", {"no_token_padding": False}), ("Read 75 tokens", {"max_token_length": "75"})),
    ),
    Rule(
        code="weights_without_padding",
        fields=("weighted_captions", "no_token_padding"),
        broken=lambda c: c.captions.weighted_captions and c.captions.no_token_padding,
        message="Weighted words are read in whole windows, which are always padded.",
        mends=(("Pad captions", {"no_token_padding": False}), ("No weights", {"weighted_captions": False})),
    ),
    Rule(
        code="weights_torn_apart",
        fields=("weighted_captions", "shuffle_caption", "caption_tag_dropout_rate"),
        broken=lambda c: (
            c.captions.weighted_captions and (c.captions.shuffle_caption or c.captions.caption_tag_dropout_rate > 0)
        ),
        message="Tags are parted at their commas, and brackets around several are torn apart. Weigh each by itself.",
        severity="warning",
    ),
    Rule(
        code="no_caption_left",
        fields=("caption_dropout_rate", "caption_dropout_every_n_epochs", "ucg"),
        broken=lambda c: (
            c.captions.caption_dropout_rate == 1
            or c.captions.ucg == 1
            or c.captions.caption_dropout_every_n_epochs == 1
        ),
        message="Every caption is left out each time: the model learns no words. A share such as 0.1 is usual.",
        mends=(("Leave none out", {"caption_dropout_rate": 0, "caption_dropout_every_n_epochs": 0, "ucg": 0}),),
        severity="warning",
    ),
)
