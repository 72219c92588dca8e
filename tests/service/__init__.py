"""Tests of the reference service, started for real."""
