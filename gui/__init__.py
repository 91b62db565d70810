"""The studio in the browser: it asks through trainer.contract, watches run folders, and never imports torch."""
