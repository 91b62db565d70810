"""How the demo's models came about: drawn scenes, and the training of what the trainer itself does not train."""
