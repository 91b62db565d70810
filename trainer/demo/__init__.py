"""The demo: a small model with random weights and a dozen drawn pictures, made by this program at first use."""
