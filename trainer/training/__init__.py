"""From images to a trained model. Read loop.py first."""
