"""From the bytes of a document to lines of text that know where they stand. Libraries do so in a child process."""
