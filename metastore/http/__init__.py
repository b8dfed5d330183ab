"""The one HTTP client: limits, retries, bounded bodies, credentials and what responses mean."""
