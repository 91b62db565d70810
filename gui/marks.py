"""Small drawn parts that several pages share: state marks, the note under a box, escaping.

A template is JavaScript between `${` and `}` inside HTML; it gets data and draws it, and every text that a person or a
file can have written goes through `esc`, so that `<img onerror>` stays text.
"""

from html import escape

ESC = "const esc = (s) => String(s ?? '').replace(/[&<>\"']/g, (c) => '&#' + c.charCodeAt(0) + ';');"
"""JavaScript: text to HTML. Put `${(() => { ESC ... })()}` around a template that shows text from outside."""

_PATHS = {
    "queued": '<circle cx="8" cy="8" r="6"/><path d="M8 4.5V8l2.2 1.6"/>',
    "running": '<path d="M8 2a6 6 0 1 0 6 6"/>',
    "stopping": '<path d="M8 2a6 6 0 1 0 6 6"/>',
    "paused": '<path d="M5.5 3.5v9M10.5 3.5v9" stroke-width="2.4"/>',
    "stopped": '<rect x="3.5" y="3.5" width="9" height="9" rx="1" fill="currentColor"/>',
    "finished": '<circle cx="8" cy="8" r="6.6" fill="currentColor" stroke="none"/>'
    '<path class="at-cut" d="M5 8.2l2.1 2.1L11 6.3"/>',
    "crashed": '<circle cx="8" cy="8" r="6.6" fill="currentColor" stroke="none"/>'
    '<path class="at-cut" d="M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4"/>',
    "lost": '<circle cx="8" cy="8" r="6" stroke-dasharray="2.2 1.6"/>'
    '<path d="M6.3 6.4a1.7 1.7 0 1 1 2.4 1.6c-.5.2-.7.5-.7 1M8 11.2v.1"/>',
    "warning": '<path d="M8 2.2 14.5 13.5h-13zM8 6.5v3.2M8 11.6v.1"/>',
    "good": '<circle cx="8" cy="8" r="6.6" fill="currentColor" stroke="none"/>'
    '<path class="at-cut" d="M5 8.2l2.1 2.1L11 6.3"/>',
    "bad": '<circle cx="8" cy="8" r="6.6" fill="currentColor" stroke="none"/>'
    '<path class="at-cut" d="M5.8 5.8l4.4 4.4M10.2 5.8l-4.4 4.4"/>',
    "info": '<circle cx="8" cy="8" r="6"/><path d="M8 7.4v3.4M8 5v.1"/>',
    "up": '<path d="M8 13V3.5M4 7.2l4-4 4 4"/>',
    "down": '<path d="M8 3v9.5M4 8.8l4 4 4-4"/>',
    "out": '<path d="M4 4l8 8M12 4l-8 8"/>',
    "save": '<path d="M3 3h8l2 2v8H3zM5.5 3v3.5h4V3M5 13V9.5h6V13"/>',
    "sample": '<rect x="2.5" y="3" width="11" height="10" rx="1"/><path d="M3 11.5 6.5 8l2.5 2.5L11 9l2.5 2.5"/>',
}

STATE_WORDS = {
    "queued": "Queued",
    "running": "Running",
    "stopping": "Stopping",
    "paused": "Paused",
    "stopped": "Stopped",
    "finished": "Finished",
    "crashed": "Crashed",
    "lost": "Lost",
}


def mark(name: str, size: int = 16) -> str:
    """A small drawn mark, hidden from screen readers because its word always stands beside it."""
    return (
        f'<svg class="at-mark" viewBox="0 0 16 16" width="{size}" height="{size}" fill="none" stroke="currentColor" '
        f'stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{_PATHS[name]}</svg>'
    )


def state_mark(state: str) -> str:
    """Mark and word of a run's state, in the state's colour."""
    return f'<span class="at-state at-state-{escape(state)}">{mark(state)}{STATE_WORDS[state]}</span>'


def card_title(text: str, aside: str = "") -> str:
    """The heading of a card, with a muted remark at its right."""
    right = f'<span class="at-aside">{escape(aside)}</span>' if aside else ""
    return f'<div class="at-card-title"><h2>{escape(text)}</h2>{right}</div>'


def page_title(text: str, below: str = "") -> str:
    """The heading of a page and the line under it."""
    under = f'<p class="at-page-about">{escape(below)}</p>' if below else ""
    return f'<div class="at-page-title"><h1>{escape(text)}</h1>{under}</div>'


def figures(rows: list[tuple[str, str, str]]) -> str:
    """Key figures side by side: (what, how much, remark)."""
    cells = "".join(
        f'<div class="at-figure"><span class="at-figure-what">{escape(what)}</span>'
        f'<span class="at-figure-value">{escape(value)}</span>'
        f'<span class="at-figure-remark">{escape(remark)}</span></div>'
        for what, value, remark in rows
    )
    return f'<div class="at-figures">{cells}</div>'


def message(kind: str, strong: str, text: str = "") -> str:
    """A tinted box for one message at a time; kind is good, warning, bad or info."""
    role = ' role="alert"' if kind == "bad" else ""
    return (
        f'<div class="at-message at-message-{kind}"{role}>{mark(kind)}'
        f"<span><strong>{escape(strong)}</strong> {escape(text)}</span></div>"
    )


def empty(question: str, text: str) -> str:
    """The frame of an empty page: a question or a fact, and one sentence. Buttons stand below it."""
    return f'<div class="at-empty"><strong>{escape(question)}</strong><p>{escape(text)}</p></div>'


NOTE_TEMPLATE = f"""${{(() => {{ {ESC}
const button = (problem, words, place) => `<button type="button" class="${{place ? 'at-link' : 'at-button'}}"
 data-act="mend" data-key="${{esc(problem.key)}}" data-mend="${{place}}">${{esc(words)}}</button>`;
const mends = (problem) => problem.mends.length
  ? `<div class="at-mends">${{problem.mends.map((words, place) => button(problem, words, place)).join('')}}</div>` : '';
const rows = (value.problems || []).map((problem) =>
  `<div class="at-problem at-problem-${{problem.severity}}" role="alert">
<span>${{esc(problem.message)}}</span>${{mends(problem)}}</div>`).join('');
const unit = value.unit ? `<span class="at-unit" aria-hidden="true">${{esc(value.unit)}}</span>` : '';
const back = value.default ? `<button type="button" class="at-link at-default" data-act="default"
 data-name="${{esc(value.name)}}">default ${{esc(value.default)}}</button>` : '';
return `<div class="at-note-body${{value.bad ? ' at-bad' : ''}}">${{unit}}${{back}}${{rows}}</div>`; }})()}}"""

NOTE_SCRIPT = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-act]');
  if (button) trigger('click', {...button.dataset});
});
"""
"""A click on anything with data-act reaches Python as gr.EventData with the data- attributes."""
