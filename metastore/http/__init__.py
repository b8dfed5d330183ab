"""The one HTTP client: limits, retries, bounded bodies, credentials, and the meaning of responses."""
