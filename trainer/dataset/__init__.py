"""From folders of images to numbered, cropped, batched pixels with captions. No torch in here."""
