"""Typing into the boxes of the window, as a person does."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def type_into(page: "Page", name: str, text: str) -> None:
    """Replace what stands in the box of an option, in one stroke as by pasting: Gradio does not hear a set value."""
    box = page.locator(f"#at-{name}").locator("input, textarea").first
    box.click()
    box.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)


def value_of(page: "Page", name: str) -> str:
    """What stands in the box of an option."""
    return page.locator(f"#at-{name}").locator("input, textarea").first.input_value()
