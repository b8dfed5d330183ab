"""The parts of the service, which `metastore.web` puts together: one blueprint for each noun.

A route checks rights (`guard`), parses the request (`requests`), makes one call and answers (`responses`). All errors
become problem documents in one place (`problems`).
"""
