"""Many calls, later: message batches, worked on here through the gateway or handed to the upstream's own batch API."""
