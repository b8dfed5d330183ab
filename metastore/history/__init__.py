"""The history of a part of a descriptor: the revisions that changed it, and the revision that each value comes from.

Pure functions on revisions and their descriptors. A part is followed by name, and where it was renamed, by its content.
"""
