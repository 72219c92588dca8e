"""Tests; `reference.py` is the plain export that whole archives are compared with."""
