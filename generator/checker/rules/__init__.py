"""What a server accepts, one small function a rule, with the words of the server."""
