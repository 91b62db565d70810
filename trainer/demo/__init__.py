"""The demo: two small models that draw a world of shapes, and pictures of what they are yet to learn."""
