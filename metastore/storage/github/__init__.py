"""Datasets on GitHub, one repository per dataset. `connect` opens the storage from a URL and a token."""
