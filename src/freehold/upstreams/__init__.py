"""Where a call is answered. An upstream is a Handler with a name; it knows nothing of keys, money or retries."""
