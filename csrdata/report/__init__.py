"""The HTML report on preference pairs: one page that opens from a file, without a network."""
