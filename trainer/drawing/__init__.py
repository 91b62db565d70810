"""Pictures from checkpoints: asked for by the page or a terminal, drawn in a process of their own. Light but artist."""
