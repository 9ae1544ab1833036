"""A model repository in S3: how it is named, read, written, locked, and looked into."""
