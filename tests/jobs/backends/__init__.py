"""Tests of the export job's real parts."""
