"""Tests of the page that the service shows."""
