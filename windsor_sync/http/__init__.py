"""HTTP/1.1 over connections of our own: every answer is bounded in bytes and in time, and belongs to one request."""
