"""Typing into the boxes of the window, as a person does."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def type_into(page: "Page", name: str, text: str) -> None:
    """Replace what stands in the box of an option, in one stroke as by pasting."""
    page.locator(f"#at-{name}").locator("input, textarea").first.fill(text)


def wait_for_form(page: "Page") -> None:
    """Until the first preset stands in the boxes and the page shows what follows from it: then one may type."""
    rows, skip = page.locator(".at-dataset .at-row strong"), page.locator(".at-tour [data-act=skip]")
    rows.filter(visible=True).or_(skip).first.wait_for()
    if skip.count():
        skip_tour(page)


def value_of(page: "Page", name: str) -> str:
    """What stands in the box of an option."""
    return page.locator(f"#at-{name}").locator("input, textarea").first.input_value()


def skip_tour(page: "Page") -> None:
    """Put the welcome aside, which a first visit is shown, and wait for the usual Dataset page."""
    page.locator(".at-tour [data-act=skip]").click()
    page.locator(".at-dataset .at-row strong").first.wait_for()
