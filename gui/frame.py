"""What holds the pages together in one window: the tabs, the run that is shown, and the revision of the form.

`revision` counts up whenever the form has been looked through again; a page that shows what follows from the form
listens to its change and asks `gui.review` for the (remembered) result. A handler that fills boxes, or has changed
what lies on the disk (a caption, say), counts `asked` up, and the form is looked through again; typing does so itself.
Such a handler goes through Gradio's queue: with queue=False no change of a gr.State is told to anybody.
"""

from dataclasses import dataclass

import gradio as gr


@dataclass(frozen=True)
class Frame:
    """Shared components of one window. The tabs have the ids dataset, captions, model, train, runs, try_it."""

    window: gr.Blocks
    tabs: gr.Tabs
    revision: gr.State
    shown_run: gr.State
    """Name of the run folder that the Runs page shows, empty for the list."""
    asked: gr.State
    """Count up to have the form looked through again."""
    look: gr.Button
    """Hidden: a click on it has the form looked through. It stands outside the tabs, which are not always there."""
    ahead: gr.State
    """Of each lane in use its number and the run that a new one would wait for: `Activity.ahead`."""
    tried: gr.State
    """Path of the checkpoint that the Try it page is to choose when it comes into view; empty once it has."""
