"""Where images and prompts come from: the built-in microworld, datasets on disk, tables."""
