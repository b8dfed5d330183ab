"""The history of a part of a descriptor: what changed it, and which revision each value comes from.

Pure functions on revisions and their descriptors. A part is followed by name, and where it was renamed, by its content.
"""
