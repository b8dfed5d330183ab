"""Datasets in a GitLab group, one project per dataset. `connect` opens the storage from a URL and a token."""
