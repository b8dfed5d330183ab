"""Datasets of an organisation or user on Gitea or Forgejo. `connect` opens the storage from a URL and a token."""
