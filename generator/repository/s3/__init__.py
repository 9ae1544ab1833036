"""Read, write and lock model repositories in S3."""
