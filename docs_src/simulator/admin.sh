S=$ANTHROPIC_BASE_URL/freehold/v1/simulator
curl -s -X POST $S/faults -d '{"kind": "api_error", "rate": 0.05}'
curl -s -X POST $S/clock -d '{"advance_s": 3600}'
curl -s $S/account
curl -s -X DELETE $S/faults
