"""The reference service: the export job over HTTP, as its API's page describes."""
