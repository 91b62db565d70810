"""Headers with flaws as problems: one for each kind of flaw, naming the files."""

from collections import defaultdict

from trainer.contract.problems import Mend, Problem
from trainer.dataset.headers import Header
from trainer.dataset.listing import FORMATS
from trainer.dataset.wording import counted, ending_of, listed

FLAWS: dict[str, tuple[str, str, str]] = {
    "unreadable": ("cannot be opened", "cannot be opened", "Allow reading it"),
    "zero_bytes": ("is empty, 0 bytes long", "are empty, 0 bytes long", "Copy it again"),
    "not_an_image": ("is no image inside", "are no images inside", "Save it as one"),
    "truncated": ("is damaged or cut off", "are damaged or cut off", "Copy or save it again"),
    "too_large": ("has more than 178 megapixels", "have more than 178 megapixels", "Make it smaller"),
    "undecodable": ("is damaged inside", "are damaged inside", "Copy or save it again"),
}
"""Flaw -> what one file is, what several are, how one is mended."""


class Flaws:
    """Collects the names of files with flaws, to say each kind once. `field` is the option that names their folder."""

    def __init__(self, field: str) -> None:
        self._field = field
        self._flawed: dict[str, list[str]] = defaultdict(list)
        self._animated: list[str] = []
        self._wrong_endings: list[str] = []

    def note(self, name: str, header: Header) -> bool:
        """Look at one file's header; whether there is anything to say of it."""
        if header.flaw is not None:
            self._flawed[header.flaw].append(name)
            return True
        wrong = header.format not in FORMATS[ending_of(name)]
        if wrong:
            self._wrong_endings.append(f"{name} ({header.format})")
        if header.frames > 1:
            self._animated.append(name)
        return wrong or header.frames > 1

    def problems(self, left_out: bool) -> list[Problem]:
        """All of them at once; `left_out` says that the job goes on without flawed files."""
        problems = [self._flaw(flaw, self._flawed[flaw], left_out) for flaw in FLAWS if self._flawed.get(flaw)]
        if self._animated:
            verb = "moves" if len(self._animated) == 1 else "move"
            message = f"{_subject(self._animated)} {verb}: only the first picture is learnt."
            problems.append(Problem("disk.image_animated", message, (self._field,), "warning"))
        if self._wrong_endings:
            one = len(self._wrong_endings) == 1
            verb = "holds another format than its" if one else "hold another format than their"
            message = (
                f"{_subject(self._wrong_endings)} {verb} ending says. "
                "It is read all the same; other programs may stumble."
            )
            problems.append(Problem("disk.image_wrong_ending", message, (self._field,), "warning"))
        return problems

    def _flaw(self, flaw: str, names: list[str], left_out: bool) -> Problem:
        is_so, are_so, mend = FLAWS[flaw]
        one = len(names) == 1
        what = f"{_subject(names)} {is_so if one else are_so}"
        if left_out:
            message = f"{what}, and {'is' if one else 'are'} left out."
            return Problem(f"disk.image_{flaw}", message, (self._field, "skip_bad_images"), "warning")
        advice = f"{mend}, or take it out of the folder."
        message = f"{what}. {advice if one else advice.replace(' it', ' them')}"
        mends = (Mend("Train without it" if one else "Train without them", {"skip_bad_images": True}),)
        return Problem(f"disk.image_{flaw}", message, (self._field,), mends=mends)


def _subject(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{counted(len(names), 'image')} ({listed(names)})"
