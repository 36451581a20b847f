"""Preference pairs that others made: read from their files, checked, and written as a folder that `select_pairs` takes."""
