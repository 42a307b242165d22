"""What an agent's tools are and who runs each: boxes, toolboxes, or the client itself."""
