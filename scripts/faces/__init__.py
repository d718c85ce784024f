"""A module for each language.

`files(schema)` gives the text of each generated file, by its path.
"""
