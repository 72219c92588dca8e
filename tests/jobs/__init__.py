"""Tests of the export job: rules, stores, worker."""
