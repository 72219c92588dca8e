"""What messaging platforms hand out, in small: a writer for each shape, which returns the rows that must come of it.

The talks are the same for all; each writer clothes them in its platform's field names and adds what is not to be
exported. The rows are made from the talks, not from what was written. All people and texts are made up.
"""
