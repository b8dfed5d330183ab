"""Datasets in a GitLab group, a project each. `connect` opens the storage from a URL and a token."""
