"""The Claude API as values: what goes over the wire, in both directions. No sockets, no clock, no database."""
