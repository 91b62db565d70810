"""The look: a Gradio theme whose values all point at the tokens, and the style sheets in gui/style.

tokens.css comes first and holds every colour, size and distance; frame.css dresses Gradio's own parts; every page has
a sheet of its own name. They reach the browser as one text, so nothing is fetched from elsewhere.
"""

import inspect
from pathlib import Path

import gradio as gr

STYLE = Path(__file__).with_name("style")
_FIRST = ("tokens.css", "frame.css")

_TOKENS = {
    "body_background_fill": "ground",
    "body_text_color": "text",
    "body_text_color_subdued": "text-muted",
    "background_fill_primary": "surface",
    "background_fill_secondary": "sunken",
    "border_color_primary": "line",
    "border_color_accent": "accent",
    "color_accent": "accent",
    "color_accent_soft": "accent-soft",
    "link_text_color": "accent",
    "link_text_color_hover": "accent",
    "link_text_color_active": "accent",
    "link_text_color_visited": "accent",
    "block_label_text_color": "text",
    "block_title_text_color": "text",
    "block_info_text_color": "text-muted",
    "input_background_fill": "surface",
    "input_background_fill_focus": "surface",
    "input_border_color": "line-strong",
    "input_border_color_focus": "accent",
    "input_placeholder_color": "text-muted",
    "checkbox_background_color": "surface",
    "checkbox_background_color_selected": "accent-fill",
    "checkbox_border_color": "line-strong",
    "checkbox_border_color_selected": "accent-fill",
    "checkbox_label_text_color": "text",
    "checkbox_label_text_color_selected": "text",
    "button_primary_background_fill": "accent-fill",
    "button_primary_background_fill_hover": "accent-fill-hover",
    "button_primary_text_color": "on-accent",
    "button_primary_text_color_hover": "on-accent",
    "button_primary_border_color": "accent-fill",
    "button_primary_border_color_hover": "accent-fill-hover",
    "button_secondary_background_fill": "surface",
    "button_secondary_background_fill_hover": "sunken",
    "button_secondary_text_color": "text",
    "button_secondary_text_color_hover": "text",
    "button_secondary_border_color": "line-strong",
    "button_secondary_border_color_hover": "line-strong",
    "slider_color": "accent",
    "error_background_fill": "bad-soft",
    "error_border_color": "bad",
    "error_text_color": "bad",
    "loader_color": "accent",
}
_PLAIN = {
    "block_background_fill": "transparent",
    "block_border_width": "0px",
    "block_shadow": "none",
    "block_label_background_fill": "transparent",
    "block_padding": "0px",
    "block_title_text_size": "var(--at-size-s)",
    "block_title_text_weight": "var(--at-weight-strong)",
    "block_info_text_size": "var(--at-size-xs)",
    "block_radius": "var(--at-radius-l)",
    "input_radius": "var(--at-radius-m)",
    "input_border_width": "1px",
    "input_padding": "7px 10px",
    "input_text_size": "var(--at-size-m)",
    "input_shadow": "none",
    "input_shadow_focus": "none",
    "layout_gap": "var(--at-5)",
    "form_gap_width": "0px",
    "panel_background_fill": "transparent",
    "panel_border_width": "0px",
    "button_large_padding": "0 14px",
    "button_large_radius": "var(--at-radius-m)",
    "button_large_text_size": "var(--at-size-m)",
    "button_large_text_weight": "500",
    "button_small_padding": "0 12px",
    "button_small_radius": "var(--at-radius-m)",
    "button_small_text_size": "var(--at-size-m)",
    "button_small_text_weight": "500",
    "button_border_width": "1px",
    "button_transition": "none",
    "button_primary_shadow": "none",
    "button_secondary_shadow": "none",
    "checkbox_label_background_fill": "transparent",
    "checkbox_label_background_fill_hover": "transparent",
    "checkbox_label_background_fill_selected": "transparent",
    "checkbox_label_border_width": "0px",
    "checkbox_label_padding": "0px",
    "checkbox_label_shadow": "none",
    "checkbox_shadow": "none",
    "container_radius": "var(--at-radius-l)",
    "section_header_text_size": "var(--at-size-l)",
}


def theme() -> gr.themes.Base:
    """Gradio's base theme with every value from the tokens, the same key in light and dark."""
    values = {name: f"var(--at-{token})" for name, token in _TOKENS.items()} | _PLAIN
    base = gr.themes.Base(font=["var(--at-font)"], font_mono=["var(--at-mono)"])
    known = inspect.signature(base.set).parameters
    dark = {f"{name}_dark": value for name, value in values.items() if f"{name}_dark" in known}
    return base.set(**values, **dark)


def style_sheet() -> str:
    """All sheets as one text: tokens and frame first, then the pages' by name."""
    first = [STYLE / name for name in _FIRST]
    rest = sorted(path for path in STYLE.glob("*.css") if path not in first)
    return "\n".join(path.read_text(encoding="utf-8") for path in [*first, *rest])
