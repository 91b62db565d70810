"""From checkpoint files to modules and back: inspect, load, save, tokenise. `inspect` and `tokenizer` need no torch."""
