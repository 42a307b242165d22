"""Reading what people write, in Chinese and English: words, values, fenced blocks. No tools, no answers."""
