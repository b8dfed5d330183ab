"""Authentication and authorisation: tokens, the keys that check them, and scopes.

`tokens` turns a token into an identity. The keys come from `key_sources`, which `keys` parses; `own_key` makes the
service's own. `access` holds the one rule that decides. No module here knows HTTP.
"""
