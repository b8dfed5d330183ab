"""Datasets in repositories of one owner on a host that accepts writes by `git push`: GitLab, Gitea and Forgejo."""
