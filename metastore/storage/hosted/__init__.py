"""Datasets as repositories of one owner on a host that is written to by Git's push: GitLab, Gitea and Forgejo."""
