"""Datasets in repositories of one owner on Gitea or Forgejo. `connect` opens the storage from a URL and a token."""
