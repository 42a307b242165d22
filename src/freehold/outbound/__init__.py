"""The one guarded way out: dial, address guard, TLS, a lean HTTP client, limits. Nobody else opens a socket."""
