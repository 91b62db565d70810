"""The cards of the Dataset page as HTML: the plan, the table of folders, what was found, the buckets.

A `Review` comes in, text goes out; nothing is read from disk but the free room. Every name and message is escaped.
"""

from collections import Counter
from html import escape

from gui.figures import count, counted, size
from gui.form import keyed
from gui.gallery import Shot, name_of
from gui.marks import card_title, figures, mark
from gui.review import Review
from trainer.contract.problems import Problem
from trainer.dataset.check import ENLARGED_TOO_MUCH
from trainer.dataset.room import free_bytes
from trainer.dataset.scan import Folder

ROW_FIELDS = ("train_data_dir", "reg_data_dir", "caption_extension", "fine_tuning", "dataset_repeats")
"""What names one of these first is a row of the folders' card."""

SIZE_FIELDS = ("resolution", "enable_bucket", "bucket_reso_steps", "min_bucket_reso", "max_bucket_reso")
"""Of these only warnings are rows, small images for example; a value to mend stands at its box."""


def draw_plan(review: Review) -> str:
    """The plan: the sum of everything below it."""
    head = card_title("The plan", "Counted by the trainer’s own code: what you see is what will run")
    plan, report = review.plan, review.report
    if plan is None or report is None:
        waits = "The plan stands here as soon as there are images, and steps or epochs."
        return f'{head}<p class="at-aside">{waits}</p>'
    repeats = {folder.repeats for folder in report.scan.folders if not folder.regularization and folder.pictures}
    times = f" × {repeats.pop():,}" if len(repeats) == 1 else ""
    uses = f"{count(plan.uses_per_epoch)} an epoch"
    if plan.reg_uses_per_epoch:
        uses += f", {count(plan.reg_uses_per_epoch)} of them regularization"
    open_places = sum(row.missing_to_fill for row in plan.buckets)
    left = f"{counted(open_places, 'place')} left empty" if open_places else "none left over"
    rows = [
        ("Images × repeats" if times else "Images", f"{count(plan.images)}{times}", uses),
        *([("Held out", count(plan.held_out), "measured, not trained on")] if plan.held_out else []),
        ("Batch", count(plan.batch_size), f"{counted(len(plan.buckets), 'bucket')}, {left}"),
        ("An epoch", counted(plan.steps_per_epoch, "step"), counted(plan.epochs, "epoch")),
        ("In all", counted(plan.total_steps, "step"), _seen(review)),
        _saves(review, plan.save_count),
    ]
    return head + figures(rows)


def draw_folders(review: Review, shots: list[Shot]) -> str:
    """The table of folders and the findings under it; empty where no folder counts."""
    report = review.report
    if report is None or not report.scan.folders:
        return ""
    captions = Counter(entry.folder for entry in report.entries if entry.captioned)
    small = Counter(shot.entry.folder for shot in shots if shot.enlarged > ENLARGED_TOO_MUCH)
    wordless = Counter(entry.folder for entry in report.entries if not entry.caption)
    columns = ("Folder", "Repeats", "Images", "Captions", "An epoch", "To look at")
    head = "".join(f'<span role="columnheader">{name}</span>' for name in columns)
    rows = [
        _folder_row(folder, captions[folder.path], small[folder.path], wordless[folder.path])
        for folder in report.scan.folders
    ]
    table = (
        f'<div class="at-table" role="table"><div class="at-row at-labels" role="row">{head}</div>{"".join(rows)}</div>'
    )
    return table + draw_findings(row_problems(review))


def row_problems(review: Review) -> dict[str, Problem]:
    """The problems that are drawn as rows, by the key that their mends send back."""
    if review.report is None or not review.report.scan.folders:
        return {}
    return {
        key: problem
        for key, problem in keyed(review.problems).items()
        if problem.fields
        and (problem.fields[0] in ROW_FIELDS or (problem.severity == "warning" and problem.fields[0] in SIZE_FIELDS))
    }


def draw_findings(problems: dict[str, Problem]) -> str:
    """One row for each finding: mark, what it is, its mends."""
    rows = []
    for key, problem in problems.items():
        strong, rest = _first_words(problem.message)
        mends = "".join(
            f'<button type="button" class="{"at-link" if place else "at-button"}" data-act="mend" '
            f'data-key="{escape(key)}" data-mend="{place}">{escape(mend.label)}</button>'
            for place, mend in enumerate(problem.mends)
        )
        bad = problem.severity == "error"
        role = ' role="alert"' if bad else ""
        rows.append(
            f'<div class="at-finding {"at-is-bad" if bad else "at-is-warn"}"{role}>{mark("bad" if bad else "warning")}'
            f"<p><strong>{escape(strong)}</strong> {escape(rest)}</p>"
            f'<div class="at-mends">{mends}</div></div>'
        )
    return f'<div class="at-findings">{"".join(rows)}</div>' if rows else ""


def _first_words(message: str) -> tuple[str, str]:
    """What is wrong, and the rest: cut behind the first full stop or colon that ends a word."""
    ends = [place for place in (message.find(". "), message.find(": ")) if place >= 0]
    cut = min(ends, default=len(message)) + 1
    return message[:cut], message[cut:].strip()


def draw_buckets(review: Review, bucket: str) -> str:
    """The buckets of an epoch as rows with bars; a click on one shows its images."""
    head = card_title("Buckets")
    plan = review.plan
    if plan is None:
        return f'{head}<p class="at-aside">The buckets stand here as soon as there is a plan.</p>'
    most = max(row.images for row in plan.buckets) or 1
    rows = []
    for row in plan.buckets:
        name = name_of(row.size)
        longer = max(row.size)
        width, height = (max(4, round(20 * side / longer)) for side in row.size)
        shape = f'<i class="at-shape" style="width:{width}px;height:{height}px"></i>'
        bar = f'<i class="at-bucket-bar"><b style="width:{100 * row.images / most:.1f}%"></b></i>'
        pressed = "true" if name == bucket else "false"
        rows.append(
            f'<button type="button" class="at-bucket" aria-pressed="{pressed}" data-act="bucket" '
            f'data-bucket="{name}"><span>{name}</span>{shape}{bar}<span class="at-number">{count(row.images)}</span>'
            f'<span class="at-number at-muted">{count(row.batches)}</span></button>'
        )
    labels = (
        '<div class="at-bucket at-labels"><span>Size</span><i></i><i></i><span>Images</span><span>Batches</span></div>'
    )
    told = "One bucket, one shape: a batch never mixes them. Click a bucket to see its images."
    table = f'<div class="at-buckets">{labels}{"".join(rows)}</div>'
    return f'{head}{table}<p class="at-small">{told}</p>'


def _folder_row(folder: Folder, captions: int, small: int, wordless: int) -> str:
    images = len(folder.pictures)
    look = [f"{count(wordless)} without caption"] if wordless else []
    look += [f"{count(small)} small"] if small else []
    told = f'<span class="at-warn">{", ".join(look)}</span>' if look else '<span class="at-muted">none</span>'
    kind = "<small>regularization</small>" if folder.regularization else ""
    if not folder.regularization and folder.name and captions < images:
        kind = f"<small>the others: “{escape(folder.name)}”</small>" if captions else ""
        kind = kind or f"<small>caption: “{escape(folder.name)}”</small>"
    cells = [
        ("Folder", f"<strong>{escape(folder.path.name)}</strong>{kind}", ""),
        ("Repeats", count(folder.repeats), "at-number"),
        ("Images", count(images), "at-number"),
        ("Captions", count(captions), "at-number"),
        ("An epoch", count(images * folder.repeats), "at-number"),
        ("To look at", told, ""),
    ]
    drawn = "".join(
        f'<span role="cell" data-label="{label}" class="{kind}">{text}</span>' for label, text, kind in cells
    )
    return f'<div class="at-row" role="row">{drawn}</div>'


def _seen(review: Review) -> str:
    plan = review.plan
    assert plan is not None
    whole = plan.total_steps == plan.epochs * plan.steps_per_epoch
    seen = plan.uses_per_epoch * plan.epochs if whole else plan.total_steps * plan.images_per_step
    return f"{'' if whole else 'about '}{count(seen)} images seen"


def _saves(review: Review, saves: int) -> tuple[str, str, str]:
    one = review.save_bytes
    folder = review.looked_at.saves.output_dir
    free = free_bytes(folder.expanduser()) if folder is not None else None
    room = f"{size(free)} free" if free is not None else "no folder chosen yet"
    return ("Saves", f"{count(saves)} of {size(one)}" if one is not None else count(saves), room)
