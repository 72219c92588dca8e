"""An archive read back by a road of its own: what wrote it is not asked, and nothing in it is believed.

`directory` finds the members, `packed` unpacks them, `rows` reads the rows of their CSVs, `table` many rows at once;
`printable` is what a terminal gets of their text.
Memory is bounded whatever a file claims, and damage is an ArchiveError or a problem that is told, never a traceback.
"""
