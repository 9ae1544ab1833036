"""An S3 server for the tests (moto) over HTTP on loopback: its objects and the requests it got."""

import logging
import re
from dataclasses import dataclass, field

import boto3
from moto.server import ThreadedMotoServer

SIGNED = {"aws_access_key_id": "tests", "aws_secret_access_key": "no secret", "region_name": "us-east-1"}
KEYS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "no secret", "AWS_DEFAULT_REGION": "us-east-1"}
REQUEST = re.compile(r'"(?:\x1b\[[\d;]*m)*(?P<method>[A-Z]+) (?P<path>\S+) HTTP')
LOCK = ".tritongen.lock"


@dataclass
class S3:
    """A server and one of its buckets; `requests` has methods with paths in the order of arrival."""

    endpoint: str
    bucket: str
    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def client(self):
        """Return a boto3 client, which the program does not use."""
        return boto3.client("s3", endpoint_url=self.endpoint, **SIGNED)

    def url(self, prefix="models"):
        """Return the URL of a repository."""
        return f"s3://{self.bucket}/{prefix}"

    def put(self, key, content=b"", **arguments):
        """Write an object as any program would."""
        self.client.put_object(Bucket=self.bucket, Key=key, Body=content, **arguments)

    def remove(self, key):
        """Remove an object."""
        self.client.delete_object(Bucket=self.bucket, Key=key)

    def get(self, key):
        """Return the content of an object."""
        return self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read()

    def contents(self, prefix="models"):
        """Return every object below a prefix by its name from there on."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=f"{prefix}/")
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        return {key.removeprefix(f"{prefix}/"): self.get(key) for key in keys}

    def upload(self, folder, prefix="models"):
        """Upload a folder as `aws s3 cp --recursive` does."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def requested(self, *methods):
        """Return the paths of requests with these methods, from the bucket on and without the query."""
        start = f"/{self.bucket}/"
        return [
            p.partition("?")[0].removeprefix(start) for m, p in self.requests if m in methods and p.startswith(start)
        ]

    def written(self):
        """Return the names of written and removed objects, without the lock."""
        return [path for path in self.requested("PUT", "POST", "DELETE") if not path.endswith(LOCK)]


class Requests(logging.Handler):
    """The server's log of requests."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def emit(self, record):
        """Record a request."""
        if found := REQUEST.search(record.getMessage()):
            self.seen.append((found["method"], found["path"]))


class Moto:
    """The server of a test session."""

    def __init__(self):
        self.requests = Requests()
        logger = logging.getLogger("werkzeug")
        logger.addHandler(self.requests)
        logger.setLevel(logging.INFO)
        logger.propagate = False
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        logger.setLevel(logging.INFO)
        self.endpoint = "http://{}:{}".format(*self.server.get_host_and_port())
        self.buckets = 0

    def bucket(self):
        """Make a new bucket."""
        self.buckets += 1
        made = S3(self.endpoint, f"bucket-{self.buckets}")
        made.client.create_bucket(Bucket=made.bucket)
        self.requests.seen = made.requests
        return made
