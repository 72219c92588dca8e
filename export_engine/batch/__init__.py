"""Many channels and periods at once: one archive for each, out of a lake of rows in any order."""
