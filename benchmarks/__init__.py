"""How fast, how small, how much memory: one file per question. See README.md for the commands."""
