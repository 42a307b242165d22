def test_the_long_prompt_is_paid_for_once_in_five_minutes(claude):
    system = [{"type": "text", "text": "You know every rule. " * 500, "cache_control": {"type": "ephemeral"}}]

    def ask():
        with claude.client() as client:
            messages = [{"role": "user", "content": "Hello"}]
            return client.messages.create(
                model="claude-opus-5-5", max_tokens=50, system=system, messages=messages
            ).usage

    assert ask().cache_creation_input_tokens > 1000
    claude.advance(299)
    assert ask().cache_read_input_tokens > 1000
    claude.advance(301)
    assert ask().cache_read_input_tokens == 0
