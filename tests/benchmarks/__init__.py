"""Tests of what measures: benchmarks/."""
