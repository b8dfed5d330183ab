"""Versions of CKAN's datasets, kept in MetaStore."""
