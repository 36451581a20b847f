"""Where images and prompts come from: the built-in microworld, data sets on disk, tables."""
