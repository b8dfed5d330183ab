"""Datasets on GitHub, a repository each. `connect` opens the storage from a URL and a token."""
