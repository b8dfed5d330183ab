"""Files on disk: read, written so that they survive a power cut, and locked."""
