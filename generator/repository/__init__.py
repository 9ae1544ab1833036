"""A model repository, in a folder or in S3."""
