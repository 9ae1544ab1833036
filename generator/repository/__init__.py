"""Read and write model repositories, in folders and in S3."""
