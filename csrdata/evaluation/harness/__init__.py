"""Benchmarks that another harness runs, lmms-eval: its process, its results, and which task each column of the paper is."""
