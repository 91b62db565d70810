"""The images of a data set as the trainer sees them: which bucket each goes to, what is cut, and how that is drawn.

Entries and the image section come in; `Shot` records and the HTML of the gallery go out. The cut is drawn on the whole
image: what is lost is dark, what is kept has a white frame. Placing is the trainer's own code; nothing is decoded here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from gui.figures import count
from gui.studio import Studio
from gui.thumbnails import thumbnail_url
from trainer.contract.config import ImageSection
from trainer.dataset.buckets import Size, bucket_of, sizes_of
from trainer.dataset.captions import Entry
from trainer.dataset.check import ENLARGED_TOO_MUCH
from trainer.dataset.placement import face_of, placement

PAGE = 24
"""Images drawn at first, and with each "Show 24 more"."""

MUCH_CUT = 0.10
"""From this share on an image has a chip of its own: what is cut is never learnt."""

CHIPS = {
    "all": "All",
    "bucket": "This bucket",
    "words": "No caption",
    "small": "Small",
    "cut": "Cut over 10 %",
    "reg": "Regularization",
}


@dataclass(frozen=True, slots=True)
class Shot:
    """One image and its cut: `left`, `top`, `width` and `height` of what is kept are shares of the whole image."""

    entry: Entry
    bucket: Size
    left: float
    top: float
    width: float
    height: float
    enlarged: float
    """How many times the image is enlarged for its bucket; below 1 it is shrunk."""
    varies: bool = False
    """Whether each use has another cut, and this is one of them."""

    @property
    def cut(self) -> float:
        """The share of the image that is cut away."""
        return max(0.0, 1 - self.width * self.height)


def shots(entries: Iterable[Entry], images: ImageSection) -> list[Shot]:
    """Every image with its bucket and cut, in the order of the entries."""
    sizes = sizes_of(images)
    still = images.model_copy(update={"flip_aug": False})
    middle: dict[Size, Shot] = {}
    found = []
    for index, entry in enumerate(entries):
        picture = entry.picture
        size = (picture.width, picture.height)
        around_face = images.face_range is not None and face_of(picture) is not None
        if images.random_crop or around_face:
            found.append(_shot(entry, bucket_of(*size, images, sizes), still, index, around_face))
            continue
        # Without chance in it the cut follows from the size alone, and a folder of thousands has few sizes.
        if size not in middle:
            middle[size] = _shot(entry, bucket_of(*size, images, sizes), still, index, False)
        like = middle[size]
        found.append(Shot(entry, like.bucket, like.left, like.top, like.width, like.height, like.enlarged))
    return found


def chosen(shots: Sequence[Shot], chip: str, bucket: str) -> list[Shot]:
    """The shots behind a chip; training images only, but for the chip of the regularization images."""
    if chip == "reg":
        return [shot for shot in shots if shot.entry.regularization]
    keep = {
        "bucket": lambda shot: name_of(shot.bucket) == bucket,
        "words": lambda shot: not shot.entry.caption,
        "small": lambda shot: shot.enlarged > ENLARGED_TOO_MUCH,
        "cut": lambda shot: shot.cut > MUCH_CUT,
    }.get(chip, lambda shot: True)
    return [shot for shot in shots if not shot.entry.regularization and keep(shot)]


def name_of(bucket: Size) -> str:
    """ "576 × 448" """
    return f"{bucket[0]} × {bucket[1]}"


def draw_gallery(studio: Studio, shots: Sequence[Shot], chip: str, bucket: str, number: int) -> str:
    """The gallery's HTML: title, chips with counts, at most `number` images, and the way to more."""
    behind = chosen(shots, chip, bucket)
    title = f"{bucket}, as the trainer sees it" if chip == "bucket" else "As the trainer sees it"
    head = (
        f'<div class="at-card-title"><h2>{escape(title)}</h2><label class="at-check">'
        '<input type="checkbox" checked data-crop> Show the crop</label></div>'
    )
    cards = "".join(_card(studio, shot) for shot in behind[:number])
    if not cards:
        cards = '<p class="at-aside">No image is like this.</p>'
    more = len(behind) - number
    button = f'<button type="button" class="at-button" data-act="more">Show {min(PAGE, more)} more</button>'
    foot = (
        f'<div class="at-gallery-foot"><span class="at-aside">{min(number, len(behind)):,} of {len(behind):,}</span>'
        f"{button if more > 0 else ''}</div>"
    )
    return f'{head}<div class="at-chips">{_chips(shots, chip, bucket)}</div><div class="at-shots">{cards}</div>{foot}'


def _shot(entry: Entry, bucket: Size, images: ImageSection, index: int, around_face: bool) -> Shot:
    # A cut that is drawn by lot: the generator of the image's number gives the same one each time the page is drawn.
    place = placement(entry.picture, bucket, images, np.random.default_rng(index))
    width, height = bucket[0] / place.resized_w, bucket[1] / place.resized_h
    return Shot(
        entry,
        bucket,
        left=place.left / place.resized_w,
        top=place.top / place.resized_h,
        width=width,
        height=height,
        enlarged=place.resized_w / entry.picture.width,
        varies=around_face or (images.random_crop and width * height < 1),
    )


def _chips(shots: Sequence[Shot], chip: str, bucket: str) -> str:
    drawn = []
    for name, words in CHIPS.items():
        number = len(chosen(shots, name, bucket))
        if name in ("all", chip) or number:
            pressed = "true" if name == chip else "false"
            drawn.append(
                f'<button type="button" class="at-chip" aria-pressed="{pressed}" data-act="chip" data-chip="{name}">'
                f"{words} <span>{count(number)}</span></button>"
            )
    return "".join(drawn)


def _card(studio: Studio, shot: Shot) -> str:
    picture = shot.entry.picture
    name = escape(picture.path.name)
    if studio.allows(picture.path):
        image = f'<img src="{escape(thumbnail_url(picture.path))}" alt="{name}" loading="lazy">'
    else:
        image = '<span class="at-no-picture">Not shown: outside the folders of this studio</span>'
    left, top, width, height = (f"{100 * part:.2f}%" for part in (shot.left, shot.top, shot.width, shot.height))
    frame = ""
    if shot.cut > 0.004:
        frame = f'<span class="at-kept" style="left:{left};top:{top};width:{width};height:{height}"></span>'
    lost = f"{round(100 * shot.cut)} % cut" if shot.cut >= 0.005 else "nothing cut"
    remarks = []
    if shot.varies:
        remarks.append('<span class="at-aside">one of many cuts</span>')
    if not shot.entry.caption:
        remarks.append('<span class="at-warn">No caption</span>')
    if shot.enlarged > ENLARGED_TOO_MUCH:
        remarks.append(f'<span class="at-warn">Enlarged {shot.enlarged:.1f} times</span>')
    return (
        f'<figure class="at-shot"><div class="at-whole" style="aspect-ratio:{picture.width}/{picture.height}">'
        f'{image}{frame}</div><figcaption><span title="{name}">{name}</span>'
        f"<span>{picture.width:,} × {picture.height:,}, {lost}</span>{''.join(remarks)}</figcaption></figure>"
    )
