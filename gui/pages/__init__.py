"""One module per tab; each builds its part of the page into the open Blocks and wires its events."""
