"""Tests of csrdata/report."""
