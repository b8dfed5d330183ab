"""What the service is made of: `metastore.web` puts it together, one blueprint a noun.

A route parses (`requests`), asks who may (`guard`), makes one call, and answers (`answers`); what goes wrong becomes
a problem document in one place (`problems`).
"""
