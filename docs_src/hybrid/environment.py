from anthropic import Anthropic

client = Anthropic()
environment = client.beta.environments.create(name="my laptop", config={"type": "self_hosted"})
print(environment.id)
