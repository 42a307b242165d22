"""What an agent is given: files, skills, memory stores."""
