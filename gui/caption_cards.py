"""The cards of the Captions page as HTML: an image, its caption in a box, its tokens; and the list of changes.

Entries, the tokenizer's family and what a browser is looking at come in, text goes out. Captions and names are escaped;
a template is not used, so that a caption with ${...} in it stays a caption.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape

from gui.figures import ago, count, counted
from gui.journal import Edit
from gui.marks import card_title, mark
from gui.studio import Studio
from gui.thumbnails import thumbnail_url
from trainer.dataset.captions import Entry
from trainer.model.tokenizer import Family, load_tokenizer

PAGE = 24
CHIPS = ("all", "words", "long")

BAR_PERCENT = 75
"""Where on the bar of a caption the mark of what fits stands, in percent."""

_UNDO_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Held:
    """What keeps a typed caption from being saved: the typed text stays in its box with this under it."""

    typed: str
    message: str
    changed: bool = False
    """Whether the file says something else by now; then the person chooses between the two."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How captions will be read: the tokenizer's family, and how many tokens."""

    family: Family
    limit: int


@dataclass(frozen=True, slots=True)
class Measure:
    """The tokens of a caption, what of it is read, and the tail that is not."""

    tokens: int
    head: str
    tail: str


@lru_cache(maxsize=50_000)
def measure(text: str, reading: Reading) -> Measure:
    """How long a caption is for the text encoder that will read it."""
    tokenizer = load_tokenizer(reading.family)
    return Measure(tokenizer.count(text), *tokenizer.split(text, reading.limit))


def is_shown(entry: Entry, chip: str, words: str, reading: Reading) -> bool:
    """Whether an entry is behind a chip and holds all words of a search in its caption or its file's name."""
    if chip == "words" and entry.captioned and entry.caption:
        return False
    if chip == "long" and measure(entry.caption, reading).tokens <= reading.limit:
        return False
    where = f"{entry.caption} {entry.picture.path.name}".casefold()
    return all(word in where for word in words.casefold().split())


def draw_chips(entries: Sequence[Entry], chip: str, reading: Reading) -> str:
    """The chips with their counts, and nothing for those that would show nothing."""
    drawn = []
    titles = {"all": "All", "words": "No caption", "long": f"Over {reading.limit} tokens"}
    for name in CHIPS:
        number = sum(is_shown(entry, name, "", reading) for entry in entries)
        if number or name in ("all", chip):
            drawn.append(
                f'<button type="button" class="at-chip" aria-pressed="{"true" if name == chip else "false"}" '
                f'data-act="chip" data-chip="{name}">{titles[name]} <span>{count(number)}</span></button>'
            )
    return f'<div class="at-chips">{"".join(drawn)}</div>'


def draw_cards(
    studio: Studio, entries: Iterable[Entry], held: Mapping[str, Held], reading: Reading, behind: int, named: bool
) -> str:
    """The grid of cards and the line under it; `behind` is how many there are in all, `named`: folder names count."""
    cards = [_card(studio, entry, held.get(str(entry.picture.path)), reading, named) for entry in entries]
    if not cards:
        return '<p class="at-aside">No caption is like this.</p>'
    more = behind - len(cards)
    button = f'<button type="button" class="at-button" data-act="more">Show {min(PAGE, more)} more</button>'
    keys = (
        '<span class="at-keys"><kbd>Tab</kbd> next caption <kbd>Ctrl</kbd><kbd>Z</kbd> undo while typing '
        "<kbd>Esc</kbd> leave</span>"
    )
    foot = (
        f'<div class="at-gallery-foot"><span class="at-aside">1 to {len(cards):,} of {behind:,}</span>{keys}'
        f"{button if more > 0 else '<i></i>'}</div>"
    )
    how = f'data-family="{reading.family}" data-limit="{reading.limit}"'
    return f'<div class="at-captions" {how}>{"".join(cards)}</div>{foot}'


def draw_undo(edits: Sequence[Edit], message: str = "") -> str:
    """The dated list of changes, the newest first; an older change of the same file waits for the newer one."""
    head = card_title("Undo", counted(len(edits), "change") if edits else "")
    told = f'<p class="at-warn at-undo-told" role="status">{escape(message)}</p>' if message else ""
    if not edits:
        about = "Nothing was changed yet. Each change is written down with what stood there before."
        return f'{head}{told}<p class="at-small">{about}</p>'
    rows, seen = [], set()
    for edit in edits[:_UNDO_SHOWN]:
        what = "Wrote" if edit.old is None else "Emptied" if not edit.new else "Edited"
        button = f'<button type="button" class="at-button" data-act="undo" data-edit="{escape(edit.id)}">Undo</button>'
        if edit.file in seen:
            button = '<span class="at-aside">changed again</span>'
        seen.add(edit.file)
        rows.append(
            f'<li><span><b title="{escape(edit.old or "no caption")}">{what} {escape(edit.file.name)}</b>'
            f"<small>{escape(ago(edit.time))}</small></span>{button}</li>"
        )
    more = len(edits) - _UNDO_SHOWN
    left = f'<p class="at-small">and {more:,} earlier, in the journal of this studio</p>' if more > 0 else ""
    return f'{head}{told}<ul class="at-undo">{"".join(rows)}</ul>{left}'


def _card(studio: Studio, entry: Entry, held: Held | None, reading: Reading, named: bool) -> str:
    path = entry.picture.path
    saved = entry.caption if entry.captioned else ""
    text = held.typed if held else saved
    size = measure(text, reading)
    long = size.tokens > reading.limit
    waiting = "No caption yet. Write one."
    if named and not entry.captioned and entry.caption:
        waiting = f"Learnt as “{entry.caption}”, the folder’s name"
    name, where = escape(path.name), escape(f"{path.parent.name}/{path.name}")
    image = '<span class="at-no-picture">Not shown</span>'
    if studio.allows(path):
        image = f'<img src="{escape(thumbnail_url(path))}" alt="" loading="lazy">'
    box = (
        f'<textarea rows="3" spellcheck="true" aria-label="Caption of {name}" placeholder="{escape(waiting)}" '
        f'data-was="{escape(saved)}" data-text="{escape(text)}">{escape(text)}</textarea>'
    )
    return (
        f'<div class="at-caption{" at-long" if long else ""}" data-picture="{escape(str(path))}"'
        f'{" data-held" if held else ""}><div class="at-caption-image">{image}</div><div class="at-caption-side">'
        f'<div class="at-caption-box"><div class="at-mirror" aria-hidden="true">{_mirror(text, size)}</div>{box}</div>'
        f'<div class="at-caption-line"><span class="at-caption-name" title="{where}">{name}</span>'
        f'{_bar(size.tokens, reading.limit)}</div><div class="at-lost">{_lost(size, reading.limit)}</div>'
        f"{_held(held)}</div></div>"
    )


def _mirror(text: str, size: Measure) -> str:
    """The caption once more behind its box, its lost tail struck through at the very place where it stands."""
    if not size.tail:
        return ""
    return f"{escape(text.removesuffix(size.tail))}<s>{escape(size.tail)}</s>"


def _bar(tokens: int, limit: int) -> str:
    over = tokens > limit
    share = BAR_PERCENT * tokens / limit
    read, lost = min(share, BAR_PERCENT), max(0.0, min(share, 100) - BAR_PERCENT)
    told = f"{mark('warning') if over else ''}{tokens} / {limit}"
    return (
        f'<i class="at-token-bar" aria-hidden="true"><b style="width:{read:.0f}%"></b><u style="width:{lost:.0f}%"></u>'
        f'<em></em></i><span class="at-tokens{" at-warn" if over else ""}">{told}</span>'
    )


def _lost(size: Measure, limit: int) -> str:
    lost = size.tokens - limit
    if lost <= 0:
        return ""
    told = "The last token is not read." if lost == 1 else f"The last {lost:,} tokens are not read."
    return f'<span>{told}</span><button type="button" class="at-link" data-act="cut">Cut here</button>'


def _held(held: Held | None) -> str:
    if held is None:
        return ""
    keep = "Keep mine" if held.changed else "Try again"
    drop = "Take the one on disk" if held.changed else "Leave it as it was"
    return (
        f'<div class="at-held" role="alert"><span>{escape(held.message)}</span><div class="at-mends">'
        f'<button type="button" class="at-button" data-act="keep">{keep}</button>'
        f'<button type="button" class="at-link" data-act="drop">{drop}</button></div></div>'
    )


CARDS_SCRIPT = r"""
const card = (inside) => inside.closest('.at-caption');
const area = (inside) => card(inside).querySelector('textarea');
const waiting = new Map();

// A box whose card shows another picture or another text now takes the new text over, unless somebody is typing in it.
const told = new WeakMap();
const settle = () => {
  for (const box of element.querySelectorAll('textarea')) {
    const {picture} = card(box).dataset, {text} = box.dataset, last = told.get(box);
    const typing = document.activeElement === box && last && last.picture === picture && box.value !== last.text;
    if (last && !typing && (last.picture !== picture || last.text !== text)) box.value = text;
    told.set(box, {picture, text});
  }
};
settle();
watch('value', settle);

const send = (box, act) => trigger('click', {
  act, picture: card(box).dataset.picture, text: box.value, was: box.dataset.was,
});
const isNew = (box) => box.value !== box.dataset.text;

element.addEventListener('focusout', (event) => {
  if (event.target.tagName === 'TEXTAREA' && isNew(event.target) && !('held' in card(event.target).dataset)) {
    send(event.target, 'save');
  }
});
element.addEventListener('keydown', (event) => {
  if (event.target.tagName !== 'TEXTAREA') return;
  // A caption is one line: Enter leaves the box as Escape does.
  if (event.key === 'Escape' || (event.key === 'Enter' && !event.isComposing)) {
    event.preventDefault();
    event.target.blur();
  }
});
element.addEventListener('input', (event) => {
  const box = event.target;
  if (box.tagName !== 'TEXTAREA') return;
  card(box).querySelector('.at-mirror').textContent = '';
  clearTimeout(waiting.get(box));
  waiting.set(box, setTimeout(async () => {
    const text = box.value;
    const {family, limit} = element.querySelector('.at-captions').dataset;
    const [tokens, tail] = await server.count_tokens({text, family, limit});
    if (box.value !== text) return;
    const number = card(box).querySelector('.at-tokens'), bar = card(box).querySelector('.at-token-bar');
    const share = 75 * tokens / limit;
    number.textContent = tokens + ' / ' + limit;
    number.classList.toggle('at-warn', tokens > limit);
    bar.querySelector('b').style.width = Math.min(share, 75) + '%';
    bar.querySelector('u').style.width = Math.max(0, Math.min(share, 100) - 75) + '%';
    const mirror = card(box).querySelector('.at-mirror');
    mirror.textContent = tail ? text.slice(0, text.length - tail.length) : '';
    if (tail) mirror.append(Object.assign(document.createElement('s'), {textContent: tail}));
  }, 250));
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (!button) return;
  const act = button.dataset.act;
  if (act === 'more') { trigger('click', {act}); return; }
  const box = area(button);
  if (act === 'cut') {
    const lost = card(button).querySelector('.at-mirror s');
    if (!lost) return;
    box.value = box.value.slice(0, box.value.length - lost.textContent.length).trimEnd().replace(/[,;]$/, '');
    send(box, 'save');
  } else if (act === 'drop') {
    told.delete(box);
    box.value = box.dataset.was;
    send(box, 'drop');
  } else {
    send(box, act);
  }
});
// Closing the page with the cursor still in a box: the browser asks once.
window.addEventListener('beforeunload', (event) => {
  if ([...element.querySelectorAll('textarea')].some(isNew)) event.preventDefault();
});
"""
