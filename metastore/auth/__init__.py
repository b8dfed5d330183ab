"""Who asks, and what they may do: tokens, the keys that they are checked with, and scopes.

`tokens` turns a token's text into an identity, with keys from `key_sources` (`keys` parses them, `own_key` makes the
service's own). `access` holds the one rule that decides. Nothing here knows HTTP.
"""
