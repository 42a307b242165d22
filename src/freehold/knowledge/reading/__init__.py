"""From the bytes of a document to lines of text that know where they stand. Pure, but for the child that is walled in."""
